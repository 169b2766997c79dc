"""Beam search over steps, led by a verifier."""

from dataclasses import dataclass

from grpo.types import Problem
from inference.engine import Candidate, Codec, Outcome, Strategy, require, verify
from inference.select import best
from inference.writing import Decoding, pen_for


@dataclass(frozen=True)
class Beam:
    """Beam search against a verifier (arXiv 2408.03314, section 5.2): `beams` first steps are sampled and
    scored; the best beams / expand of them go on with `expand` next steps each; and so on.

    A step ends with `step_end` or after `max_step_tokens`. The last of `max_steps` goes on to the end of the
    completion, so max_steps=1 is best-of-n. Other than in the paper, which keeps whole completions in the
    beam, they wait outside it, and the search ends when `beams` of them wait or no beam is left; the one
    with the highest score is chosen.
    """

    decoding: Decoding
    beams: int
    expand: int
    max_steps: int = 40
    max_step_tokens: int = 128
    step_end: str = "\n"

    def __post_init__(self) -> None:
        require(self.beams >= 1, "beams", self.beams, ">= 1")
        divides = self.expand >= 1 and self.beams % self.expand == 0
        require(divides, "expand", self.expand, f"a divisor of beams={self.beams}")
        require(self.max_steps >= 1, "max_steps", self.max_steps, ">= 1")
        require(self.max_step_tokens >= 1, "max_step_tokens", self.max_step_tokens, ">= 1")
        require(self.step_end != "", "step_end", self.step_end, "one character or more")
        heat = self.decoding.temperature
        require(self.beams == 1 or heat > 0, "temperature", heat, "> 0 where beams > 1")

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        live = [pen.blank] * self.beams
        whole: list[Candidate] = []
        scores: list[float] = []
        steps = 0
        while live and len(whole) < self.beams:
            if steps == self.max_steps - 1:
                drafts = yield from pen.write(live, steps)
            else:
                drafts = yield from pen.write(live, steps, self.max_step_tokens, (self.step_end,))
            steps += 1
            scored = list(zip(drafts, (yield from verify(drafts)), strict=True))
            whole += [draft for draft, _ in scored if not draft.partial]
            scores += [score for draft, score in scored if not draft.partial]
            going = sorted((item for item in scored if item[0].partial), key=lambda item: -item[1])
            live = [draft for draft, _ in going[: self.beams // self.expand] for _ in range(self.expand)]
        return Outcome(whole[best(scores)], tuple(whole), {"scores": scores, "steps": steps})

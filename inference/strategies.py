"""The decoding strategies of evaluate.py.

A strategy is a frozen dataclass of its settings; what conf/strategies.py does not check is checked on construction.
Calling it with a problem returns a generator (inference/types.py). With the same `Decoding` the first n completions of
all strategies are equal, so that two results differ only in how the strategies use them.
"""

from dataclasses import dataclass, replace

from grpo.settings import at_least
from grpo.types import Problem
from inference.decoding import Decoding, Writer, answer_opening, can_spell, make_writer, revision_prompt
from inference.types import Candidate, Codec, Routine, StrategyOutput, verify
from inference.voting import answer_key, best, vote, weighted_best
from rewards.tags import read_tags

THINK_END = "</think>"
STEP_END = "\n"  # ends a step of beam search


@dataclass(frozen=True)
class Sample:
    """Sample n completions and choose the first.

    `decoding.prompt` selects zero-shot chain of thought or a direct answer (arXiv 2205.11916).
    """

    decoding: Decoding
    n: int = 1

    def __post_init__(self) -> None:
        _check_temperature(self.decoding, "strategy.n", self.n)

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        candidates = yield from _samples(self.n, problem, self.decoding, codec)
        return StrategyOutput(candidates[0], tuple(candidates))


@dataclass(frozen=True)
class MajorityVote:
    """Self-consistency (arXiv 2203.11171): choose the most frequent answer of n completions.

    A completion without an answer has no vote. The first of the tied answers wins.
    """

    decoding: Decoding
    n: int

    def __post_init__(self) -> None:
        _check_temperature(self.decoding, "strategy.n", self.n)

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        candidates = yield from _samples(self.n, problem, self.decoding, codec)
        result = vote([answer_key(candidate) for candidate in candidates])
        details = {"votes": result.votes, "ties": result.ties, "silent": result.silent}
        return StrategyOutput(candidates[result.chosen], tuple(candidates), details)


@dataclass(frozen=True)
class BestOfN:
    """Choose the completion of n with the highest verifier score.

    weighted  choose the answer with the highest sum of scores over all completions that give it (arXiv 2408.03314,
              section 5.1)
    """

    decoding: Decoding
    n: int
    weighted: bool = False

    def __post_init__(self) -> None:
        _check_temperature(self.decoding, "strategy.n", self.n)

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        candidates = yield from _samples(self.n, problem, self.decoding, codec)
        scores = yield from verify(candidates)
        if not self.weighted:
            return StrategyOutput(candidates[best(scores)], tuple(candidates), {"scores": scores})
        chosen, sums = weighted_best([answer_key(candidate) for candidate in candidates], scores)
        return StrategyOutput(candidates[chosen], tuple(candidates), {"scores": scores, "sums": sums})


@dataclass(frozen=True)
class BeamSearch:
    """Beam search against a verifier (arXiv 2408.03314, section 5.2).

    The search samples and scores `beams` first steps, continues each of the best beams / expand with `expand` next
    steps, and so on. A step ends with a line break or after `max_step_tokens` tokens. Step number `max_steps`
    continues to the end of the completion, so that max_steps=1 equals best-of-n.

    The paper keeps finished completions in the beam. Here they are set aside: the search ends when `beams`
    completions are finished or no beam is left, and chooses the completion with the highest score.
    """

    decoding: Decoding
    beams: int
    expand: int
    max_steps: int = 40
    max_step_tokens: int = 128

    def __post_init__(self) -> None:
        at_least("strategy.beams", self.beams, 1)
        if self.expand < 1 or self.beams % self.expand != 0:
            raise ValueError(f"strategy.expand must be a divisor of strategy.beams={self.beams}, got {self.expand}")
        at_least("max_steps", self.max_steps, 1)
        at_least("strategy.max_step_tokens", self.max_step_tokens, 1)
        _check_temperature(self.decoding, "strategy.beams", self.beams)

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        writer = make_writer(problem, self.decoding, codec)
        beams = [writer.start] * self.beams
        finished: list[Candidate] = []
        scores: list[float] = []
        steps = 0
        while beams and len(finished) < self.beams:
            if steps == self.max_steps - 1:
                drafts = yield from writer.sample(beams, steps)
            else:
                drafts = yield from writer.sample(beams, steps, self.max_step_tokens, (STEP_END,))
            steps += 1
            scored = list(zip(drafts, (yield from verify(drafts)), strict=True))
            finished += [draft for draft, _ in scored if not draft.partial]
            scores += [score for draft, score in scored if not draft.partial]
            ranked = sorted((pair for pair in scored if pair[0].partial), key=lambda pair: -pair[1])
            beams = [draft for draft, _ in ranked[: self.beams // self.expand] for _ in range(self.expand)]
        return StrategyOutput(finished[best(scores)], tuple(finished), {"scores": scores, "steps": steps})


@dataclass(frozen=True)
class BudgetForcing:
    """Budget forcing (s1, arXiv 2501.19393, section 3.1): lengthen or shorten the reasoning.

    The first `waits` times that the model ends its reasoning or its completion, the end is removed, `wait` is
    appended, and the model continues. Reasoning that reaches `cap` tokens, forced ones included, is ended and the
    answer is opened; a wait that would reach the cap is omitted. With waits=0 and cap=None this is plain sampling.

    wait  the text from which the model continues; a tiny model needs one from its own vocabulary. If it is empty,
          the model samples again from the point before the end, which needs temperature > 0
    """

    decoding: Decoding
    waits: int
    cap: int | None = None
    wait: str = "Wait"

    def __post_init__(self) -> None:
        limit = self.decoding.max_tokens
        at_least("strategy.waits", self.waits, 0)
        if self.cap is not None and not 1 <= self.cap < limit:
            raise ValueError(
                f"strategy.cap must be null or in 1..{limit - 1}, below model.max_completion_tokens={limit}, "
                f"got {self.cap}"
            )
        if THINK_END in self.wait:
            raise ValueError(f"strategy.wait must not contain {THINK_END}, got {self.wait!r}")
        if self.waits > 0 and self.wait == "" and self.decoding.temperature == 0:
            raise ValueError("strategy.wait must not be empty with strategy.temperature=0, got ''")
        if self.decoding.prompt != "cot":
            raise ValueError(f"strategy.prompt must be cot for strategy=budget, got {self.decoding.prompt}")

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        writer = make_writer(problem, self.decoding, codec)
        self._check_codec(codec)
        draft, waits, segments = writer.start, 0, 0
        capped = False
        while waits < self.waits or self.cap is not None:
            rest = None if self.cap is None else self.cap - len(draft.token_ids)
            [draft] = yield from writer.sample([draft], segments, rest, (THINK_END,))
            segments += 1
            ended = THINK_END in draft.text or draft.finish_reason == "stop"
            if not ended and draft.partial:
                draft, capped = writer.force(draft, _closing(codec, draft.text)), True
            extended = self._extend(writer, draft) if ended and waits < self.waits else None
            if extended is None:
                break
            draft, waits = extended, waits + 1
        if draft.partial:
            [draft] = yield from writer.sample([draft], segments)
        return StrategyOutput(draft, (draft,), {"waits": waits, "capped": capped, "forced": draft.forced_tokens})

    def _extend(self, writer: Writer, draft: Candidate) -> Candidate | None:
        """Replace the end of the reasoning by the wait; None if that leaves no room for another token."""
        thought, rest = writer.cut(draft, THINK_END)
        extended = writer.force(thought, rest + self.wait)
        limit = self.decoding.max_tokens if self.cap is None else self.cap
        return extended if len(extended.token_ids) < limit else None

    def _check_codec(self, codec: Codec) -> None:
        if self.waits > 0 and self.wait != "" and not can_spell(codec, self.wait):
            raise ValueError(f"strategy.wait must be a text that the model's vocabulary can spell, got {self.wait!r}")
        if self.cap is not None:
            limit = self.decoding.max_tokens
            highest = limit - 1 - len(codec.encode(_closing(codec, "")))
            if self.cap > highest:
                raise ValueError(
                    f"strategy.cap must be <= {highest} to leave room for an answer within "
                    f"model.max_completion_tokens={limit}, got {self.cap}"
                )


@dataclass(frozen=True)
class Revise:
    """Self-refine (arXiv 2303.17651): ask the model up to `rounds` times to check and improve its answer.

    Each round is a new prompt with the last answer, and ends early when the answer stays the same. Unlike in the
    paper, feedback and revision are one completion, and only the last answer is shown. After a completion without an
    answer the original prompt is used. The last answer is chosen.

    A prompt that is too long for the model's context ends the revision, which `too_long` in the details records.
    """

    decoding: Decoding
    rounds: int

    def __post_init__(self) -> None:
        at_least("strategy.rounds", self.rounds, 1)

    def __call__(self, problem: Problem, codec: Codec) -> Routine[StrategyOutput]:
        writer = make_writer(problem, self.decoding, codec)
        revision_prompt(writer.prompt, "")  # raises before anything is generated
        drafts = yield from writer.sample([writer.start], step=0)
        keys = [answer_key(drafts[0])]
        unchanged = too_long = False
        while len(drafts) <= self.rounds and not unchanged:
            answer = read_tags(drafts[-1].text).answer
            prompt = revision_prompt(writer.prompt, answer) if answer else writer.prompt
            if too_long := not codec.fits(prompt):
                break
            drafts += yield from replace(writer, prompt=prompt).sample([writer.start], step=len(drafts))
            keys.append(answer_key(drafts[-1]))
            unchanged = keys[-1] is not None and keys[-1] == keys[-2]
        answered = [draft for draft, key in zip(drafts, keys, strict=True) if key is not None]
        chosen = (answered or drafts)[-1]
        return StrategyOutput(chosen, tuple(drafts), {"answers": keys, "unchanged": unchanged, "too_long": too_long})


def _samples(n: int, problem: Problem, decoding: Decoding, codec: Codec) -> Routine[list[Candidate]]:
    writer = make_writer(problem, decoding, codec)
    return (yield from writer.sample([writer.start] * n, step=0))


def _closing(codec: Codec, thought: str) -> str:
    """Return the text that ends the reasoning and opens the answer on a line of its own."""
    return ("" if thought.endswith("\n") else "\n") + answer_opening(codec)


def _check_temperature(decoding: Decoding, key: str, count: int) -> None:
    """Refuse several completions by greedy decoding, which would be equal."""
    if count > 1 and decoding.temperature == 0:
        raise ValueError(f"strategy.temperature must be > 0 with {key}={count}, got {decoding.temperature}")

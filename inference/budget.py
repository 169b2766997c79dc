"""Budget forcing: how long a model thinks is set from outside."""

from dataclasses import dataclass

from grpo.types import Problem
from inference.engine import Candidate, Codec, Outcome, Steps, Strategy, require
from inference.prompts import answer_opening, can_spell
from inference.writing import Decoding, Pen, pen_for

END = "</think>"


@dataclass(frozen=True)
class Budget:
    """Budget forcing (s1, arXiv 2501.19393, section 3.1).

    The first `waits` times that the model ends its thought, or its whole completion, the end is cut off,
    `wait` is put in its place, and the model goes on. A thought that reaches `cap` tokens, forced ones
    included, is ended, and the answer opened; a wait that would reach it is left out. With no waits and no
    cap this is plain sampling.

    wait  text to go on from; a tiny model has its own words. Empty: the model tries once more from where it
          ended, which needs chance
    """

    decoding: Decoding
    waits: int
    cap: int | None = None
    wait: str = "Wait"

    def __post_init__(self) -> None:
        most = self.decoding.max_tokens
        require(self.waits >= 0, "waits", self.waits, ">= 0")
        require(self.cap is None or 1 <= self.cap < most, "cap", self.cap, f"null or 1..max_tokens - 1 = {most - 1}")
        require(END not in self.wait, "wait", self.wait, f"a text without {END}")
        chance = self.waits == 0 or self.wait != "" or self.decoding.temperature > 0
        require(chance, "wait", self.wait, "a text where temperature is 0")
        require(self.decoding.prompt == "cot", "prompt", self.decoding.prompt, "cot where thoughts are budgeted")

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        if self.waits > 0 and self.wait != "":
            require(can_spell(codec, self.wait), "wait", self.wait, "a text that the model's vocabulary can spell")
        self._check_room(codec)
        draft, waited, segments = pen.blank, 0, 0
        capped = False
        while waited < self.waits or self.cap is not None:
            draft = yield from self._think(pen, draft, segments)
            segments += 1
            ended = END in draft.text or draft.finish_reason == "stop"
            if not ended and draft.partial:
                draft, capped = pen.force(draft, _closing(codec, draft.text)), True
            longer = self._waiting(pen, draft) if ended and waited < self.waits else None
            if longer is None:
                break
            draft, waited = longer, waited + 1
        if draft.partial:
            [draft] = yield from pen.write([draft], segments)
        return Outcome(draft, (draft,), {"waits": waited, "capped": capped, "forced": draft.forced})

    def _think(self, pen: Pen, draft: Candidate, segment: int) -> Steps[Candidate]:
        most = None if self.cap is None else self.cap - len(draft.token_ids)
        [thought] = yield from pen.write([draft], segment, most, (END,))
        return thought

    def _waiting(self, pen: Pen, draft: Candidate) -> Candidate | None:
        """The thought without its end and with the wait; None where no room would be left for another word."""
        thought, rest = pen.cut(draft, END)
        longer = pen.force(thought, rest + self.wait)
        limit = self.decoding.max_tokens if self.cap is None else self.cap
        return longer if len(longer.token_ids) < limit else None

    def _check_room(self, codec: Codec) -> None:
        if self.cap is not None:
            most = self.decoding.max_tokens - 1 - len(codec.encode(_closing(codec, "")))
            allowed = f"<= {most}, which leaves room in max_tokens={self.decoding.max_tokens} for an answer"
            require(self.cap <= most, "cap", self.cap, allowed)


def _closing(codec: Codec, thought: str) -> str:
    """What ends a thought where it stands and opens the answer, on a line of its own."""
    return ("" if thought.endswith("\n") else "\n") + answer_opening(codec)

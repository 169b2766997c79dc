"""The result of checking an answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`well_formed`: the answer could be parsed. `reason`: "correct", or why the answer is wrong."""

    correct: bool
    well_formed: bool
    reason: str


NO_ANSWER = Verdict(False, False, "no answer")
CORRECT = Verdict(True, True, "correct")

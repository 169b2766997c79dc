"""What a task's checker says of an answer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`well_formed`: the answer could be read at all. `reason` says in words why it failed."""

    correct: bool
    well_formed: bool
    reason: str


NO_ANSWER = Verdict(False, False, "no answer")
CORRECT = Verdict(True, True, "correct")

"""Reading a countdown search: what was tried, and whether it was done right.

A try is a line with at least one equation, `16 - 8 = 8, 8 + 4 = 12 yes`. Each line is checked
exactly: are its numbers the given ones, is its arithmetic true, does its verdict fit its value.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from envs.countdown.task import apply

EQUATION = re.compile(r"(\d{1,9}) ?([-+*/]) ?(\d{1,9}) ?= ?(\d{1,9})")
VERDICT = re.compile(r"\b(yes|low|high)\b")


@dataclass(frozen=True)
class Try:
    """One line of a search.

    copied      it uses the given numbers and its own intermediate values, each exactly once
    arithmetic  every equation of it is true
    value       what its last equation says
    verdict     "yes", "low", "high", or None where it gives none
    """

    copied: bool
    arithmetic: bool
    value: int
    verdict: str | None

    def hits(self, target: int) -> bool:
        return self.copied and self.arithmetic and self.value == target


def read_tries(text: str, numbers: Sequence[int]) -> list[Try]:
    """The tries of a completion, in order; lines without an equation are passed over."""
    thought = text.split("</think>", maxsplit=1)[0]
    return [attempt for line in thought.splitlines() if (attempt := _read_line(line, numbers)) is not None]


def _read_line(line: str, numbers: Sequence[int]) -> Try | None:
    equations = [(int(a), op, int(b), int(c)) for a, op, b, c in EQUATION.findall(line)]
    if not equations:
        return None
    pool, copied, arithmetic = Counter(numbers), True, True
    for left, op, right, value in equations:
        arithmetic &= apply(left, op, right) == value
        for number in (left, right):
            copied &= pool[number] > 0
            pool[number] -= 1
        pool[value] += 1
    copied &= pool.total() == 1
    verdict = VERDICT.search(line)
    return Try(copied, arithmetic, equations[-1][3], verdict[1] if verdict else None)

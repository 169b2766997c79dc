"""Multiplication: the product of two whole numbers, of any mix of lengths.

Problems are functions of (seed, split, index) alone. The two splits cannot overlap: the sorted pair,
hashed, decides which split a problem belongs to, so that `38 * 47` never leaks `47 * 38`.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from envs.prompts import STYLES, make_prompt
from envs.splits import distinct_eval_set, require, split_of
from grpo.types import Problem
from rewards.numbers import check_number
from rewards.verdict import Verdict

DIGITS = re.compile(r"[1-9]x[1-9]")
WHOLE = re.compile(r"-?[0-9]{1,18}")
LARGEST = 10**18


@dataclass
class Multiplication:
    """The task and its settings.

    digits      the lengths of both numbers, e.g. ["2x1", "3x3"]; one is drawn for each problem
    curriculum  over so many first training problems the mix widens from the easiest lengths to all
                of `digits`, at even distances; 0 gives all from the start
    round       whether a number of two or more digits may end in 0
    """

    digits: list[str] = field(default_factory=lambda: ["3x3"])
    curriculum: int = 0
    round: bool = True
    prompt_style: str = "base"
    name: str = "multiplication"

    def __post_init__(self) -> None:
        known = len(self.digits) > 0 and all(DIGITS.fullmatch(one) for one in self.digits)
        require(known, "digits", self.digits, "a list of lengths like 2x1 or 3x3, 1..9 digits each")
        require(self.curriculum >= 0, "curriculum", self.curriculum, "0 or more problems")
        require(self.prompt_style in STYLES, "prompt_style", self.prompt_style, "one of " + ", ".join(STYLES))

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split ("train" or "test").

        Raises:
            ValueError: no problem of this split was found within 1,000 draws.
        """
        rng = random.Random(f"multiplication/{seed}/{split}/{index}")
        mix = self.mix(index) if split == "train" else self.digits
        for _ in range(1000):
            a, b = (self._draw(int(length), rng) for length in rng.choice(mix).split("x"))
            if split_of(sorted_pair(a, b)) == split:
                return self._problem(a, b)
        raise ValueError(f"env.multiplication: no {split} problem with digits={mix} in 1,000 draws; widen digits")

    def mix(self, index: int) -> list[str]:
        """The lengths that the training problem at `index` is drawn from, the easiest first."""
        if index >= self.curriculum:
            return self.digits
        easiest_first = sorted(self.digits, key=difficulty)
        return easiest_first[: 1 + index * len(easiest_first) // self.curriculum]

    def eval_set(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run whatever its seed."""
        return distinct_eval_set(self, count, "env.digits")

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return check_number(answer, Fraction(problem.answer))

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """The problem that a user's JSON fields describe: `a` and `b`, or `answer` alone, which can be
        checked but not asked (its prompt is empty).

        Raises:
            ValueError: a field is missing or no whole number, or `answer` is not a * b.
        """
        if "a" not in fields and "b" not in fields and "answer" in fields:
            answer = whole(fields, "answer")
            return Problem(self.name, f"= {answer}", "", str(answer), {"answer": answer})
        a, b = whole(fields, "a"), whole(fields, "b")
        if "answer" in fields and whole(fields, "answer") != a * b:
            raise ValueError(f"multiplication: answer={fields['answer']} is not {a} * {b} = {a * b}")
        return self._problem(a, b)

    def _draw(self, length: int, rng: random.Random) -> int:
        while True:
            number = rng.randrange(10 ** (length - 1), 10**length)
            if self.round or length == 1 or number % 10 != 0:
                return number

    def _problem(self, a: int, b: int) -> Problem:
        question = f"Give me the answer of the following equation: {a} * {b} ="
        return Problem(
            env=self.name,
            key=sorted_pair(a, b),
            prompt=make_prompt(self.prompt_style, question, "12", f"{a} * {b}"),
            answer=str(a * b),
            fields={"a": a, "b": b},
            metadata={"digits": f"{len(str(abs(a)))}x{len(str(abs(b)))}"},
        )


def sorted_pair(a: int, b: int) -> str:
    """The canonical form of a problem: its numbers, sorted, so that no order of them leaks."""
    return f"{min(a, b)} * {max(a, b)}"


def difficulty(digits: str) -> tuple[int, int]:
    """The number of single-digit products that `digits` needs, then the longer length: 2x1 < 2x2 < 5x1."""
    first, second = (int(length) for length in digits.split("x"))
    return first * second, max(first, second)


def whole(fields: Mapping[str, Any], name: str) -> int:
    """The field `name` as a whole number, which may be written as text; JSON's true and false are none."""
    value = fields.get(name)
    if isinstance(value, str) and WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= LARGEST:
        raise ValueError(f"multiplication: {name} must be a whole number below 10^18, got {value!r}")
    return value

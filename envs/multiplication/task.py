"""Multiplication: the product of two integers of given lengths.

A problem is a function of (seed, split, index) alone. The splits are disjoint because the hash of the sorted pair
decides which split a problem belongs to, so `38 * 47` and `47 * 38` are in the same split.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from envs.behaviors import Behaviors, read_text_behaviors
from envs.multiplication.behaviors import read_multiplication_behaviors
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

    digits      possible lengths of the two numbers, e.g. ["2x1", "3x3"]; each problem draws one of them
    curriculum  number of training problems over which the lengths widen in even steps from the easiest to all of
                `digits`; 0 uses all of them from the start
    round       whether a number of two or more digits may end in 0
    """

    digits: list[str] = field(default_factory=lambda: ["3x3"])
    curriculum: int = 0
    round: bool = True
    prompt_style: str = "base"
    name: str = "multiplication"

    def __post_init__(self) -> None:
        known = len(self.digits) > 0 and all(DIGITS.fullmatch(lengths) for lengths in self.digits)
        require(known, "digits", self.digits, "a list of lengths like 2x1 or 3x3, 1..9 digits each")
        require(self.curriculum >= 0, "curriculum", self.curriculum, "0 or more problems")
        require(self.prompt_style in STYLES, "prompt_style", self.prompt_style, f"one of {', '.join(STYLES)}")

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
        """The possible lengths of the training problem at `index`."""
        if index >= self.curriculum:
            return self.digits
        easiest_first = sorted(self.digits, key=difficulty)
        return easiest_first[: 1 + index * len(easiest_first) // self.curriculum]

    def eval_set(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run, whatever its seed.

        Raises:
            ValueError: `digits` allows fewer held-out problems.
        """
        return distinct_eval_set(self, count, "env.digits")

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return check_number(answer, Fraction(problem.answer))

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        if "a" not in problem.fields:  # a problem that was read from its answer alone
            return read_text_behaviors(text)
        return read_multiplication_behaviors(text, abs(problem.fields["a"]), abs(problem.fields["b"]))

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from the fields `a` and `b`, or from `answer` alone. The latter can be checked but not asked,
        since its prompt is empty.

        Raises:
            ValueError: a field is missing or not an integer, or `answer` is not a * b.
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
    """The canonical form of a problem: its numbers in ascending order."""
    return f"{min(a, b)} * {max(a, b)}"


def difficulty(digits: str) -> tuple[int, int]:
    """A sort key: the number of one-digit products that `digits` needs, then the longer length (2x1 < 2x2 < 5x1)."""
    first, second = (int(length) for length in digits.split("x"))
    return first * second, max(first, second)


def whole(fields: Mapping[str, Any], name: str) -> int:
    """The field `name` as an integer, which may be a string of digits. JSON's true and false are rejected."""
    value = fields.get(name)
    if isinstance(value, str) and WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= LARGEST:
        raise ValueError(f"multiplication: {name} must be an integer below 10^18, got {value!r}")
    return value

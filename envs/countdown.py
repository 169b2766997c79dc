"""Countdown: make a target from all the given numbers, each used exactly once.

Problems are functions of (seed, split, index) alone. A problem is solvable by construction: its
target is the value of an expression drawn over its numbers. The two splits cannot overlap: the
sorted numbers, hashed, decide which split they belong to.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from envs.prompts import STYLES, make_prompt
from envs.splits import distinct_held_out, require, split_of
from grpo.types import Problem
from rewards.countdown import check
from rewards.verdict import Verdict

OPERATIONS = "+-*/"


@dataclass(frozen=True)
class Step:
    """One arithmetic step, the larger operand first: `left op right = value`."""

    left: int
    op: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.value}"


@dataclass(frozen=True)
class Derivation:
    """Steps that use up all the numbers, and the expression that they spell."""

    steps: tuple[Step, ...]
    expression: str

    @property
    def value(self) -> int:
        return self.steps[-1].value


@dataclass
class Countdown:
    """The task and its settings.

    num_numbers  how many numbers a problem may have, e.g. [3, 4]; one is drawn
    operations   a subset of "+-*/"; intermediate values are whole and never negative
    max_value    the largest intermediate value that a solution may need
    """

    num_numbers: list[int] = field(default_factory=lambda: [3, 4])
    min_number: int = 1
    max_number: int = 99
    min_target: int = 1
    max_target: int = 100
    max_value: int = 10_000
    operations: str = OPERATIONS
    prompt_style: str = "base"
    name: str = "countdown"

    def __post_init__(self) -> None:
        require(len(self.num_numbers) > 0 and min(self.num_numbers) >= 2, "num_numbers", self.num_numbers, "2 or more")
        require(1 <= self.min_number <= self.max_number, "min_number", self.min_number, "1..max_number")
        require(0 <= self.min_target <= self.max_target, "min_target", self.min_target, "0..max_target")
        require(self.max_value >= self.max_target, "max_value", self.max_value, "max_target or more")
        known = len(self.operations) > 0 and set(self.operations) <= set(OPERATIONS)
        require(known, "operations", self.operations, f"some of {OPERATIONS}")
        require(self.prompt_style in STYLES, "prompt_style", self.prompt_style, "one of " + ", ".join(STYLES))

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split ("train" or "test").

        Raises:
            ValueError: no solvable problem of this split was found within 1,000 draws.
        """
        rng = random.Random(f"countdown/{seed}/{split}/{index}")
        for _ in range(1000):
            numbers = [rng.randint(self.min_number, self.max_number) for _ in range(rng.choice(self.num_numbers))]
            if split_of(sorted_text(numbers)) != split:
                continue
            derivation = self.draw_derivation(numbers, rng)
            if derivation is not None and self.min_target <= derivation.value <= self.max_target:
                return self._problem(numbers, derivation)
        raise ValueError(
            f"env.countdown: no problem with num_numbers={self.num_numbers}, numbers "
            f"{self.min_number}..{self.max_number} and target {self.min_target}..{self.max_target} "
            "was found in 1,000 draws; widen one of them"
        )

    def held_out(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run whatever its seed."""
        return distinct_held_out(self, count, "env.max_number or env.num_numbers")

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return check(answer, problem.fields["numbers"], problem.fields["target"])

    def draw_derivation(self, numbers: Sequence[int], rng: random.Random) -> Derivation | None:
        """Combine two values at random until one is left; None when a step leaves 0..max_value."""
        values = [(number, str(number)) for number in numbers]
        steps: list[Step] = []
        while len(values) > 1:
            first, second = rng.sample(range(len(values)), 2)
            pair = sorted((values[first], values[second]), key=lambda item: -item[0])
            (left, left_text), (right, right_text) = pair
            op = rng.choice(self.operations)
            value = apply(left, op, right)
            if value is None or value > self.max_value:
                return None
            values = [item for place, item in enumerate(values) if place not in (first, second)]
            steps.append(Step(left, op, right, value))
            values.append((value, f"{grouped(left_text)} {op} {grouped(right_text)}"))
        return Derivation(tuple(steps), values[0][1])

    def _problem(self, numbers: list[int], derivation: Derivation) -> Problem:
        target = derivation.value
        question = (
            f"Using the numbers [{', '.join(map(str, numbers))}], create an equation that equals {target}. "
            f"You can use basic arithmetic operations ({', '.join(self.operations)}) "
            "and each number can only be used once."
        )
        tiny = f"make {target} from {' '.join(map(str, numbers))}"
        return Problem(
            env=self.name,
            key=f"{sorted_text(numbers)} -> {target}",
            prompt=make_prompt(self.prompt_style, question, "(1 + 2) / 3", tiny),
            answer=derivation.expression,
            fields={"numbers": numbers, "target": target},
            metadata={"num_numbers": len(numbers)},
        )


def sorted_text(numbers: Sequence[int]) -> str:
    """The canonical form of the numbers: sorted, so that no order of them leaks."""
    return " ".join(map(str, sorted(numbers)))


def apply(left: int, op: str, right: int) -> int | None:
    """`left op right` where it is a whole number, else None; `left >= right` keeps it >= 0."""
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    return left // right if right != 0 and left % right == 0 else None


def grouped(text: str) -> str:
    """The expression as an operand: in parentheses unless it is a number."""
    return f"({text})" if " " in text else text

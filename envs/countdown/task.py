"""Countdown: make a target from all the given numbers, each used exactly once.

A problem is a function of (seed, split, index) alone and solvable by construction: its target is the value of
a random expression over its numbers. The splits are disjoint because the hash of the sorted numbers decides
which split a problem belongs to.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envs.behaviors import Behaviors
from envs.countdown.behaviors import read_countdown_behaviors
from envs.countdown.checker import check
from envs.countdown.data import Row, load_countdown, sorted_text
from envs.equations import Value, apply
from envs.prompts import STYLES, make_prompt
from envs.splits import distinct_eval_set, in_epochs, require, split_of
from grpo.types import Problem
from rewards.expression import parse
from rewards.verdict import Verdict

OPERATIONS = "+-*/"
DIVISIONS = ("exact", "rational")


@dataclass(frozen=True)
class Step:
    """One arithmetic step, `left op right = value`, with left >= right."""

    left: Value
    op: str
    right: Value
    value: Value

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.value}"


@dataclass(frozen=True)
class Derivation:
    """Steps that use all the numbers, and the expression that they amount to."""

    steps: tuple[Step, ...]
    expression: str

    @property
    def value(self) -> Value:
        return self.steps[-1].value


@dataclass
class Countdown:
    """The task and its settings.

    num_numbers  the possible sizes of a problem, e.g. [3, 4]; each problem draws one of them
    operations   a subset of "+-*/"; intermediate values are never negative
    division     "exact": intermediate values are integers; "rational": a solution may need fractions
    data         null draws problems at random; otherwise a dataset with the fields nums and target, on the Hub
                 (Jiayi-Pan/Countdown-Tasks-3to4) or in a .parquet or .jsonl file
    max_value    the largest intermediate value that a solution may need
    """

    num_numbers: list[int] = field(default_factory=lambda: [3, 4])
    min_number: int = 1
    max_number: int = 99
    min_target: int = 1
    max_target: int = 100
    max_value: int = 10_000
    operations: str = OPERATIONS
    division: str = "exact"
    data: str | None = None
    prompt_style: str = "base"
    name: str = "countdown"

    def __post_init__(self) -> None:
        require(len(self.num_numbers) > 0 and min(self.num_numbers) >= 2, "num_numbers", self.num_numbers, "2 or more")
        require(1 <= self.min_number <= self.max_number, "min_number", self.min_number, "1..max_number")
        require(0 <= self.min_target <= self.max_target, "min_target", self.min_target, "0..max_target")
        require(self.max_value >= self.max_target, "max_value", self.max_value, "max_target or more")
        known = len(self.operations) > 0 and set(self.operations) <= set(OPERATIONS)
        require(known, "operations", self.operations, f"some of {OPERATIONS}")
        require(self.division in DIVISIONS, "division", self.division, f"one of {', '.join(DIVISIONS)}")
        require(self.prompt_style in STYLES, "prompt_style", self.prompt_style, f"one of {', '.join(STYLES)}")

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split ("train" or "test").

        Raises:
            ValueError: no solvable problem of this split was found within 1,000 draws.
        """
        if self.data is not None:
            return self._from_data(seed, split, index)
        rng = random.Random(f"countdown/{seed}/{split}/{index}")
        for _ in range(1000):
            numbers = [rng.randint(self.min_number, self.max_number) for _ in range(rng.choice(self.num_numbers))]
            if split_of(sorted_text(numbers)) != split:
                continue
            derivation = self.draw_derivation(numbers, rng)
            if derivation is None or derivation.value != int(derivation.value):
                continue
            if self.min_target <= derivation.value <= self.max_target:
                return self._problem(numbers, int(derivation.value), derivation.expression)
        raise ValueError(
            f"env.countdown: no problem with num_numbers={self.num_numbers}, numbers "
            f"{self.min_number}..{self.max_number} and target {self.min_target}..{self.max_target} "
            "was found in 1,000 draws; widen one of them"
        )

    def eval_set(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run, whatever its seed.

        Raises:
            ValueError: the settings or the dataset have fewer held-out problems.
        """
        if self.data is not None:
            available = len(self._rows("test"))
            problems = [self.problem(0, "test", index) for index in range(min(count, available))]
            require(len(problems) == count, "data", self.data, f"a dataset with {count} held-out problems")
            return problems
        return distinct_eval_set(self, count, "env.max_number or env.num_numbers")

    def problems(self, split: str) -> Iterator[Problem]:
        """All problems of a split of `data`, in its order."""
        for numbers, target in self._rows(split):
            yield self._problem(list(numbers), target, "")

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return check(answer, problem.fields["numbers"], problem.fields["target"])

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        return read_countdown_behaviors(text, problem.fields["numbers"], problem.fields["target"])

    def draw_derivation(self, numbers: Sequence[int], rng: random.Random) -> Derivation | None:
        """Combine two random values until one is left; None if a step leaves the range 0..max_value."""
        values: list[tuple[Value, str]] = [(number, str(number)) for number in numbers]
        steps: list[Step] = []
        while len(values) > 1:
            first, second = rng.sample(range(len(values)), 2)
            pair = sorted((values[first], values[second]), key=lambda item: -item[0])
            (left, left_text), (right, right_text) = pair
            op = rng.choice(self.operations)
            value = apply(left, op, right, self.division == "rational")
            if value is None or value > self.max_value:
                return None
            values = [item for index, item in enumerate(values) if index not in (first, second)]
            steps.append(Step(left, op, right, value))
            values.append((value, f"{grouped(left_text)} {op} {grouped(right_text)}"))
        return Derivation(tuple(steps), values[0][1])

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from the fields `numbers` (or `nums`) and `target`, or from `answer`, a solution.

        Raises:
            ValueError: a field is missing or malformed.
        """
        numbers, target = fields.get("numbers", fields.get("nums")), fields.get("target")
        if numbers is None and isinstance(fields.get("answer"), str):
            solution = parse(fields["answer"])
            if solution.value is None or solution.value.denominator != 1:
                raise ValueError(f"field answer: the value of {fields['answer']} is not an integer")
            return self._problem(list(solution.numbers), int(solution.value), fields["answer"])
        whole = [target, *numbers] if isinstance(numbers, list) and numbers else [None]
        if not all(type(value) is int for value in whole):
            raise ValueError("field numbers must be a list of integers, and field target an integer")
        return self._problem(list(numbers or []), int(target or 0), str(fields.get("answer", "")))

    def _from_data(self, seed: int, split: str, index: int) -> Problem:
        numbers, target = in_epochs(self._rows(split), f"countdown/{seed}/{split}", index)
        return self._problem(list(numbers), target, "")

    def _rows(self, split: str) -> tuple[Row, ...]:
        return load_countdown(self.data, tuple(self.num_numbers))[split] if self.data is not None else ()

    def _problem(self, numbers: list[int], target: int, solution: str) -> Problem:
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
            answer=solution,
            fields={"numbers": numbers, "target": target},
            metadata={"num_numbers": len(numbers)},
        )


def grouped(text: str) -> str:
    """The expression as an operand: in parentheses, unless it is a number."""
    return f"({text})" if " " in text else text

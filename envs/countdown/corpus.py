"""The training corpus of the tiny countdown base model (`make tiny-base`).

The corpus consists of search traces. A trace tries candidates for a countdown problem, judges each one (low,
high, yes) and stops at the first hit, or gives up early and answers with the last candidate:

    make 12 from 16 8 4
    <think>
     8 * 4 = 32, 32 - 16 = 16 high
     8 - 4 = 4, 16 - 4 = 12 yes
    </think> <answer> 16 - ( 8 - 4 ) </answer>

Candidates are drawn at random without repetition. The base model therefore has the skills (copying, arithmetic,
judging) and the habit of searching, but neither persistence nor a preference for good candidates; these are left
for reinforcement learning to find. The corpus contains no held-out problem.

Drills, lines of plain arithmetic, cover equations that are rare in traces.
"""

import random
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from envs.countdown.task import Countdown, Derivation, Step, grouped
from envs.equations import Value, apply

MAX_VALUE = 200
WORDS = ["make", " from", "\n", "<think>", "</think>", " <answer>", " </answer>"]
WORDS += [" low", " high", " yes", ",", " =", " (", " )", " +", " -", " *", " /"]
# Token -> value: each integer is one token, including its leading space.
NUMBERS = {f" {number}": number for number in range(MAX_VALUE + 1)}
PERIODS = [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0]
DRILL_LINES = 12
# The number of candidates that a trace tries before it gives up, as (probability, least, most).
STAMINA = [(0.6, 1, 1), (0.25, 2, 3), (0.15, 4, 20)]


def tiny_countdown() -> Countdown:
    """The problems of conf/env/countdown.yaml under model=tiny."""
    return Countdown(
        num_numbers=[3],
        max_number=20,
        max_target=100,
        max_value=MAX_VALUE,
        operations="+-*",
        prompt_style="tiny",
    )


def traces(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield search traces of training problems, as rows with `prompt` and `completion`."""
    env = tiny_countdown()
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"trace/{seed}/{index}")
        yield {"prompt": str(problem.prompt), "completion": trace(problem.fields, rng)}


def drills(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield rows of DRILL_LINES equations that cover all numbers of a search evenly."""
    for index in range(count):
        rng = random.Random(f"drill/{seed}/{index}")
        lines: list[str] = []
        while len(lines) < DRILL_LINES:
            left, right = rng.randint(0, MAX_VALUE), rng.randint(1, 20)
            op = rng.choice("+-*")
            value = apply(max(left, right), op, min(left, right))
            if value is not None and value <= MAX_VALUE:
                lines.append(f" {Step(max(left, right), op, min(left, right), value)}\n")
        yield {"prompt": "<think>\n", "completion": "".join(lines) + "</think>"}


def trace(fields: Mapping[str, Any], rng: random.Random) -> str:
    """One search: distinct candidates up to the first hit, or up to a random limit drawn from STAMINA."""
    candidates = list(all_derivations(tuple(sorted(fields["numbers"]))))
    rng.shuffle(candidates)
    _, least, most = rng.choices(STAMINA, weights=[share for share, _, _ in STAMINA])[0]
    lines = []
    for candidate in candidates[: rng.randint(least, most)]:
        lines.append(line(candidate, fields["target"]))
        if candidate.value == fields["target"]:
            break
    expression = candidate.expression.replace("(", "( ").replace(")", " )")
    return "".join(lines) + f"</think> <answer> {expression} </answer>"


def line(candidate: Derivation, target: int) -> str:
    """One candidate with its verdict, as a line of a trace."""
    verdict = "yes" if candidate.value == target else "low" if candidate.value < target else "high"
    return " " + ", ".join(map(str, candidate.steps)) + f" {verdict}\n"


@lru_cache(maxsize=4096)
def all_derivations(numbers: tuple[int, ...], operations: str = "+-*") -> tuple[Derivation, ...]:
    """Every way to combine the numbers with intermediate values in 0..MAX_VALUE, without duplicates."""

    def combine(values: tuple[tuple[Value, str], ...], steps: tuple[Step, ...]) -> Iterator[Derivation]:
        if len(values) == 1:
            yield Derivation(steps, values[0][1])
        for first in range(len(values)):
            for second in range(first):
                (left, left_text), (right, right_text) = sorted((values[first], values[second]), reverse=True)
                rest = tuple(item for index, item in enumerate(values) if index not in (first, second))
                for op in operations:
                    value = apply(left, op, right)
                    if value is None or value > MAX_VALUE:
                        continue
                    text = f"{grouped(left_text)} {op} {grouped(right_text)}"
                    yield from combine((*rest, (value, text)), (*steps, Step(left, op, right, value)))

    unique = {derivation.steps: derivation for derivation in combine(tuple((n, str(n)) for n in numbers), ())}
    return tuple(unique.values())

"""The training corpora of the tiny countdown base models (`make tiny-base`).

The corpus of `tiny` and `tiny-student` consists of search traces. A trace tries candidates for a countdown problem,
judges each one (low, high, yes) and stops at the first hit, or gives up early and answers with the last candidate:

    make 12 from 16 8 4
    <think>
     8 * 4 = 32, 32 - 16 = 16 high
     8 - 4 = 4, 16 - 4 = 12 yes
    </think> <answer> 16 - ( 8 - 4 ) </answer>

Candidates are drawn at random without repetition. The base model therefore has the skills (copying, arithmetic,
judging) and the habit of searching, but neither persistence nor a preference for good candidates; these are left
for reinforcement learning to find. No corpus contains a held-out problem.

The traces of `tiny-direct` consist of a single attempt and therefore contain no search. Those of `tiny-bilingual` write
the verdicts in English, in Chinese (低, 高, 对) or in both.

Drills, lines of plain arithmetic, cover equations that are rare in traces.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from envs.countdown.task import Countdown, Derivation, Step, grouped
from envs.countdown.trace import VERDICT_WORDS
from envs.equations import Value, apply

MAX_VALUE = 200
WORDS = ["make", " from", "\n", "<think>", "</think>", " <answer>", " </answer>"]
WORDS += [" low", " high", " yes", ",", " =", " (", " )", " +", " -", " *", " /"]
CHINESE_WORDS = [f" {word}" for word in VERDICT_WORDS["zh"].values()]
# Token -> value: each integer is one token, including its leading space.
NUMBERS = {f" {number}": number for number in range(MAX_VALUE + 1)}
PERIODS = [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0]
DRILL_LINES = 12
# The number of candidates that a trace tries before it gives up, as (probability, least, most).
Stamina = Sequence[tuple[float, int, int]]
STAMINA: Stamina = [(0.6, 1, 1), (0.25, 2, 3), (0.15, 4, 20)]
SINGLE_ATTEMPT: Stamina = [(1.0, 1, 1)]
# Of the bilingual traces with several verdicts, the share that uses both languages; of all of them, it is a fifth.
MIXED = 0.55


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


def traces(
    count: int, seed: int, stamina: Stamina = STAMINA, languages: Sequence[str] = ("en",)
) -> Iterator[dict[str, str]]:
    """Yield search traces of training problems, as rows with `prompt` and `completion`.

    stamina    the number of candidates that a trace tries before it gives up, in the form of STAMINA
    languages  the languages of the verdicts, keys of VERDICT_WORDS
    """
    env = tiny_countdown()
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"trace/{seed}/{index}")
        yield {"prompt": str(problem.prompt), "completion": trace(problem.fields, rng, stamina, languages)}


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


def trace(
    fields: Mapping[str, Any], rng: random.Random, stamina: Stamina = STAMINA, languages: Sequence[str] = ("en",)
) -> str:
    """One search: distinct candidates up to the first hit, or up to a random limit drawn from `stamina`."""
    candidates = list(all_derivations(tuple(sorted(fields["numbers"]))))
    rng.shuffle(candidates)
    _, least, most = rng.choices(stamina, weights=[share for share, _, _ in stamina])[0]
    tried = []
    for candidate in candidates[: rng.randint(least, most)]:
        tried.append(candidate)
        if candidate.value == fields["target"]:
            break
    spoken = verdict_languages(len(tried), rng, languages)
    lines = [line(candidate, fields["target"], language) for candidate, language in zip(tried, spoken)]
    expression = tried[-1].expression.replace("(", "( ").replace(")", " )")
    return "".join(lines) + f"</think> <answer> {expression} </answer>"


def verdict_languages(count: int, rng: random.Random, languages: Sequence[str]) -> list[str]:
    """The language of each of `count` verdicts: a single one of `languages`, or, in the share MIXED of the traces with
    several verdicts, at least two."""
    if len(languages) == 1:
        return [languages[0]] * count
    if count == 1 or rng.random() >= MIXED:
        return [rng.choice(languages)] * count
    while len(set(drawn := rng.choices(languages, k=count))) == 1:
        pass
    return drawn


def line(candidate: Derivation, target: int, language: str = "en") -> str:
    """One candidate with its verdict, as a line of a trace."""
    verdict = "yes" if candidate.value == target else "low" if candidate.value < target else "high"
    return " " + ", ".join(map(str, candidate.steps)) + f" {VERDICT_WORDS[language][verdict]}\n"


@lru_cache(maxsize=4096)
def all_derivations(numbers: tuple[int, ...]) -> tuple[Derivation, ...]:
    """Every way to combine the numbers with intermediate values in 0..MAX_VALUE, without duplicates."""

    def combine(values: tuple[tuple[Value, str], ...], steps: tuple[Step, ...]) -> Iterator[Derivation]:
        if len(values) == 1:
            yield Derivation(steps, values[0][1])
        for first in range(len(values)):
            for second in range(first):
                (left, left_text), (right, right_text) = sorted((values[first], values[second]), reverse=True)
                rest = tuple(item for index, item in enumerate(values) if index not in (first, second))
                for op in "+-*":
                    value = apply(left, op, right)
                    if value is None or value > MAX_VALUE:
                        continue
                    text = f"{grouped(left_text)} {op} {grouped(right_text)}"
                    yield from combine((*rest, (value, text)), (*steps, Step(left, op, right, value)))

    unique = {derivation.steps: derivation for derivation in combine(tuple((n, str(n)) for n in numbers), ())}
    return tuple(unique.values())

"""The corpus and the blank model of the tiny base for multiplication: `make tiny-multiplication-base`.

The corpus shows someone multiplying part by part with a running total, and more often than not
giving up early and answering the total so far:

    47 * 38
    <think>
    40 * 30 = 1200
    40 * 8 = 320, 1200 + 320 = 1520
    </think> <answer> 1520 </answer>

Every equation is true, so the base has the skills (which parts there are, one-digit products, sums,
stopping when nothing is left), but not the persistence to use them up to the end. That is what
reinforcement learning has to find. No held-out problem occurs in the corpus: the parts are round
numbers, and the problems of the tiny model never are.

Beside the traces there are drills, lines of plain arithmetic, for the sums that come late in a trace.
"""

import random
from collections.abc import Iterator

from envs.multiplication.task import Multiplication
from envs.multiplication.trace import places

# Token -> value: the model reads and writes digit by digit.
NUMBERS = {digit: int(digit) for digit in "0123456789"}
WORDS = ["\n", "<think>", "</think>", " <answer> ", " </answer>", ", ", " = ", " * ", " + "]
PERIODS = [2.0, 5.0, 10.0, 20.0]
LARGEST_TOTAL = 9999
DRILL_LINES = 8
# After how many parts an author who gives up does so, as (share of them, parts).
GIVES_UP = [(65 / 86, 1), (13 / 86, 2), (8 / 86, 3)]
# The share of authors who do all parts. The model gives up more often than they do: train_sft.py
# averages over the tokens of a batch, batches hold rows of one length, and so short rows weigh more.
FINISHES = 0.14


def tiny_multiplication() -> Multiplication:
    """The problems of conf/env/multiplication.yaml under model=tiny."""
    return Multiplication(digits=["2x1", "3x1", "2x2"], round=False, prompt_style="tiny")


def traces(count: int, seed: int, finishes: float = FINISHES) -> Iterator[dict[str, str]]:
    """Traces over training problems, as rows of `prompt` and `completion`."""
    env = tiny_multiplication()
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"multiplication trace/{seed}/{index}")
        yield {
            "prompt": str(problem.prompt),
            "completion": trace(problem.fields["a"], problem.fields["b"], rng, finishes),
        }


def trace(a: int, b: int, rng: random.Random, finishes: float = FINISHES) -> str:
    """The parts of a * b with their running total, up to the end or to the drawn stamina."""
    ways: list[tuple[float, int | None]] = [((1 - finishes) * share, count) for share, count in GIVES_UP]
    ways.append((finishes, None))
    _, stamina = rng.choices(ways, weights=[share for share, _ in ways])[0]
    lines, total = [], 0
    for left, right in parts(a, b)[:stamina]:
        lines.append(line(left, right, total))
        total += left * right
    return "".join(lines) + f"</think> <answer> {total} </answer>"


def parts(a: int, b: int) -> list[tuple[int, int]]:
    """The products of one digit each, at their places, that add up to a * b: the first number's
    highest digit first, and for each the second number's highest digit first."""
    return [(left, right) for left in places(a) for right in places(b)]


def line(left: int, right: int, total: int) -> str:
    """One part, and its sum with the total so far unless it is the first."""
    product = left * right
    added = f", {total} + {product} = {total + product}" if total else ""
    return f"{left} * {right} = {product}{added}\n"


def drills(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Rows of DRILL_LINES lines, each a part added to a total of any length and roundness."""
    for index in range(count):
        rng = random.Random(f"multiplication drill/{seed}/{index}")
        lines: list[str] = []
        while len(lines) < DRILL_LINES:
            left, right = rng.choice([(10, 10), (10, 1), (1, 10), (100, 1), (1, 1)])
            left, right = left * rng.randint(1, 9), right * rng.randint(1, 9)
            total = rng.randrange(10 ** rng.randint(2, 4))
            total -= total % 10 ** rng.randint(0, 2)
            if 0 < total <= LARGEST_TOTAL - left * right:
                lines.append(line(left, right, total))
        yield {"prompt": "<think>\n", "completion": "".join(lines) + "</think>"}

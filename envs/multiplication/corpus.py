"""The training corpus of the tiny multiplication base model (`make tiny-multiplication-base`).

A trace multiplies part by part with a running total. Most traces give up early and answer with the total so far:

    47 * 38
    <think>
    40 * 30 = 1200
    40 * 8 = 320, 1200 + 320 = 1520
    </think> <answer> 1520 </answer>

Every equation is true. The base model therefore has the skills (which parts there are, one-digit products, sums,
stopping when no part is left), but not the persistence to use them to the end; this is left for reinforcement
learning to find. The corpus contains no held-out problem: the parts are round numbers, and the problems of the
tiny model never are.

Drills, lines of plain arithmetic, cover the sums that occur late in a trace.
"""

import random
from collections.abc import Iterator

from envs.multiplication.task import Multiplication
from envs.multiplication.trace import digit_values

# Token -> value: each digit is one token.
NUMBERS = {digit: int(digit) for digit in "0123456789"}
WORDS = ["\n", "<think>", "</think>", " <answer> ", " </answer>", ", ", " = ", " * ", " + "]
PERIODS = [2.0, 5.0, 10.0, 20.0]
LARGEST_TOTAL = 9999
DRILL_LINES = 8
# The number of parts after which an unfinished trace gives up, as (probability, parts).
GIVES_UP = [(65 / 86, 1), (13 / 86, 2), (8 / 86, 3)]
# The share of traces that compute all parts. The share of the trained model is smaller: train_sft.py averages the
# loss over the tokens of a batch, and a batch holds rows of one length, so short rows weigh more.
FINISHES = 0.14


def tiny_multiplication() -> Multiplication:
    """The problems of conf/env/multiplication.yaml under model=tiny."""
    return Multiplication(digits=["2x1", "3x1", "2x2"], round=False, prompt_style="tiny")


def traces(count: int, seed: int, finishes: float = FINISHES) -> Iterator[dict[str, str]]:
    """Yield traces of training problems, as rows with `prompt` and `completion`."""
    env = tiny_multiplication()
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"multiplication trace/{seed}/{index}")
        yield {
            "prompt": str(problem.prompt),
            "completion": trace(problem.fields["a"], problem.fields["b"], rng, finishes),
        }


def trace(a: int, b: int, rng: random.Random, finishes: float = FINISHES) -> str:
    """The parts of a * b with their running total, up to the end or to a random limit drawn from GIVES_UP."""
    ways: list[tuple[float, int | None]] = [((1 - finishes) * share, count) for share, count in GIVES_UP]
    ways.append((finishes, None))
    _, stamina = rng.choices(ways, weights=[share for share, _ in ways])[0]
    lines, total = [], 0
    for left, right in parts(a, b)[:stamina]:
        lines.append(line(left, right, total))
        total += left * right
    return "".join(lines) + f"</think> <answer> {total} </answer>"


def parts(a: int, b: int) -> list[tuple[int, int]]:
    """The products of one digit value of a and one of b, which add up to a * b. The order goes from high to low
    digits of a, and within each from high to low digits of b."""
    return [(left, right) for left in digit_values(a) for right in digit_values(b)]


def line(left: int, right: int, total: int) -> str:
    """One part as a line of a trace, followed by its sum with the total so far, unless it is the first part."""
    product = left * right
    added = f", {total} + {product} = {total + product}" if total else ""
    return f"{left} * {right} = {product}{added}\n"


def drills(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield rows of DRILL_LINES lines. Each line adds a part to a random total, round or not, of any length."""
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

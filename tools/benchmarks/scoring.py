"""Measure completions scored per second on one core: `python -m tools.benchmarks.scoring`

Scores completions like those of a training step with the rule-based components, task by task, in this process; then
countdown through the pool of graders, as in a run.
"""

import argparse
import random
import time
from fractions import Fraction

from rich.console import Console
from rich.table import Table

from envs.code.task import Code
from envs.countdown.task import Countdown
from envs.env import Env
from envs.grading import GradingPool, grade
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions
from grpo.types import Problem
from rewards.mix import COMPONENTS, RewardConfig
from tests.fuzz import hostile

WORDS = ["so", "we", "try", "the", "next", "pair", "and", "see", "that", "it", "is", "too", "low", "now"]

TOKENS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="duration of each measurement (default: %(default)s)"
    )
    args = parser.parse_args()
    mixes = {
        "correct only": RewardConfig({"correct": 1.0}),
        "all components": RewardConfig(dict.fromkeys(COMPONENTS, 1.0)),
    }
    table = Table(title="completions scored per second on one core")
    for heading in ("task", *mixes):
        table.add_column(heading)
    measured = tasks()
    for name, (env, cases) in measured.items():
        speeds = [rate(env, reward, cases, args.seconds) for reward in mixes.values()]
        table.add_row(name, *(f"{speed:,.0f}" for speed in speeds))
    env, cases = measured["countdown"]
    pool = GradingPool(env, mixes["correct only"])
    started = time.monotonic()
    for future in [pool.submit(problem, text, TOKENS) for problem, text in cases * 10]:
        future.result()
    table.add_row("countdown, through the pool", f"{10 * len(cases) / (time.monotonic() - started):,.0f}", "")
    pool.close()
    Console().print(table)


def tasks() -> dict[str, tuple[Env, list[tuple[Problem, str]]]]:
    """Each task with problems, and with completions of about 300 tokens."""
    rng = random.Random(0)
    countdown, multiplication = Countdown(), Multiplication()
    questions = Questions("gsm8k", path="unread")
    latex = Questions("math", path="unread", grader="latex")
    code = Code()
    drawn = [countdown.problem(0, "train", i) for i in range(256)]
    products = [multiplication.problem(0, "train", i) for i in range(256)]
    counted = [questions.read({"answer": str(rng.randint(1, 9999))}) for _ in range(256)]
    roots = [
        latex.read({"answer": rf"\frac{{{rng.randint(1, 9)}}}{{\sqrt{{{rng.randint(2, 9)}}}}}"}) for _ in range(64)
    ]
    programs = [code.problem(0, "train", i) for i in range(32)]
    return {
        "countdown": (
            countdown,
            [
                (p, completed(hostile.countdown(p.answer, p.fields["numbers"], p.fields["target"], rng)[0], rng))
                for p in drawn
            ],
        ),
        "multiplication": (
            multiplication,
            [(p, completed(hostile.number(Fraction(p.answer), rng)[0], rng)) for p in products],
        ),
        "gsm8k": (questions, [(p, completed(hostile.number(Fraction(p.answer), rng)[0], rng)) for p in counted]),
        "math (math-verify)": (latex, [(p, completed(p.answer, rng)) for p in roots]),
        "code (sandbox, 8 tests)": (code, [(p, completed(p.answer, rng)) for p in programs]),
    }


def completed(answer: str, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(250)) + f" </think> <answer>{answer}</answer>"


def rate(env: Env, reward: RewardConfig, cases: list[tuple[Problem, str]], seconds: float) -> float:
    """Completions per second of wall time, measured for at least `seconds` after a first, untimed one."""
    grade(env, reward, *cases[0], TOKENS)
    started, calls = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        grade(env, reward, *cases[calls % len(cases)], TOKENS)
        calls += 1
    return calls / elapsed


if __name__ == "__main__":
    main()

"""Score hostile completions with every rule-based reward and compare with oracles (`make fuzz`).

    python -m tests.fuzz.run --completions 1000000 --seed 0

It fails if a completion raises an exception, takes more than LIMIT seconds of processor time, or is scored differently
by an oracle.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from envs.countdown.task import Countdown
from envs.env import Env
from envs.grading import grade
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions
from grpo.types import Problem, Score
from rewards.mix import COMPONENTS, RewardConfig
from tests.fuzz import hostile
from tests.fuzz.kinds import latex_kind, number_kind
from tests.fuzz.oracles import answer_of, could_mean, in_format, solves_countdown

LIMIT = 0.050  # seconds
LATEX = 0.02  # share of completions with answers in LaTeX
MEGABYTES = 0.0005  # share of completions with a million characters
RANGES = {"language": (0.0, 1.0), "length": (-1.0, 0.0), "repetition": (-1.0, 0.0)}
REWARD = RewardConfig(dict.fromkeys(COMPONENTS, 1.0))
PROBLEMS = 5000


@dataclass
class Findings:
    completions: int = 0
    correct: int = 0
    decided: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def fuzz(completions: int, seed: int) -> Findings:
    """Grade `completions` completions, which depend on `seed` alone."""
    questions = Questions("gsm8k", path="unread")
    drawing: list[Env] = [
        Countdown(),
        Countdown(num_numbers=[3, 4, 5], max_number=20, division="rational"),
        Multiplication(["1x1", "2x2", "3x3"]),
    ]
    tasks: list[Env] = [*drawing, questions, questions]
    math = Questions("math", path="unread", grader="latex")
    drawn = [[task.problem(seed, "train", i) for i in range(min(PROBLEMS, completions))] for task in drawing]
    rng, findings = random.Random(f"fuzz/{seed}"), Findings()
    for _ in range(completions):
        task_index = rng.randrange(len(tasks))
        env = tasks[task_index]
        label: bool | None
        if rng.random() < LATEX:
            answer, gold, label = latex_kind(rng)
            env, problem = math, math.read({"question": "", "answer": gold})
        else:
            problem = rng.choice(drawn[task_index]) if task_index < len(drawn) else question(questions, rng)
            answer, label = answer_to(problem, rng)
        text = hostile.megabyte(answer, rng) if rng.random() < MEGABYTES else hostile.dressed(answer, rng)
        num_tokens = rng.randint(0, 1200)
        score, seconds = timed_grade(env, problem, text, num_tokens)
        if seconds > LIMIT:  # perhaps the machine was busy
            seconds = min(seconds, *(timed_grade(env, problem, text, num_tokens)[1] for _ in range(2)))
        findings.completions += 1
        findings.correct += score.correct
        findings.slowest = max(findings.slowest, seconds)
        faults = found_in(problem, text, score, label if answer_of(text) == answer.strip() else None, findings)
        if seconds > LIMIT and env is not math:  # sympy is stopped by reward.timeout_s
            faults.append(f"took {seconds * 1000:.0f} ms")
        findings.faults += [f"{fault}: {problem.fields} {text[:300]!r} ({score.reason})" for fault in faults]
    return findings


def timed_grade(env: Env, problem: Problem, text: str, num_tokens: int) -> tuple[Score, float]:
    """The score, and its seconds of processor time."""
    started = time.thread_time()
    score = grade(env, REWARD, problem, text, num_tokens)
    return score, time.thread_time() - started


def question(env: Questions, rng: random.Random) -> Problem:
    whole = rng.randint(1, 10 ** rng.randint(1, 7)) * rng.choice([1, 1, 1, -1])
    value = Fraction(whole, rng.choice([1, 1, 1, 2, 4, 5]))
    return env.read({"question": "how many?", "answer": str(value)})


def answer_to(problem: Problem, rng: random.Random) -> hostile.Labelled:
    if problem.env == "countdown":
        return hostile.countdown(problem.answer, problem.fields["numbers"], problem.fields["target"], rng)
    value = Fraction(problem.answer)
    return number_kind(value, rng) if value != 0 and rng.random() < 0.5 else hostile.number(value, rng)


def found_in(problem: Problem, text: str, score: Score, label: bool | None, findings: Findings) -> list[str]:
    """The faults of a score. `label`: whether the answer is correct, if its construction determines that."""
    if score.error is not None:
        return [f"raised {score.error}"]
    faults = [
        f"{name} is {score.components[name]}"
        for name, (least, most) in RANGES.items()
        if not least <= score.components[name] <= most
    ]
    if score.components["format"] != in_format(text):
        faults.append("format is wrong")
    if problem.env == "countdown":
        expected = solves_countdown(answer_of(text), problem.fields["numbers"], problem.fields["target"])
        assert label is None or label == expected, (label, text)
        findings.decided += 1
    else:
        expected = label if label is not None else score.correct
        findings.decided += label is not None
        if (
            problem.env != "math"
            and label is None
            and score.correct
            and Fraction(problem.answer) not in could_mean(answer_of(text))
        ):
            faults.append("correct, but the answer can't mean that")
    if score.correct != expected:
        faults.append("wrongly " + ("accepted" if score.correct else "rejected"))
    return faults


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--completions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    started = time.monotonic()
    findings = fuzz(args.completions, args.seed)
    print(
        f"{findings.completions:,} completions in {time.monotonic() - started:.0f} s, seed {args.seed}: "
        f"{findings.correct:,} correct, {findings.decided:,} decided by an oracle, "
        f"slowest {findings.slowest * 1000:.1f} ms, {len(findings.faults)} faults"
    )
    for fault in findings.faults[:20]:
        print(fault)
    if findings.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

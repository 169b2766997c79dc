"""Reading a multiplication trace: which parts were done, and whether they were done right.

A step is a line with at least one equation, `40 * 8 = 320, 1200 + 320 = 1520`. Each line is checked
exactly: are its equations true, is its product a part that was still to be done, does its sum add
that part to the total so far.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from envs.countdown.skills import share
from grpo.types import Group
from rewards.tags import read_tags

EQUATION = re.compile(r"(\d{1,9}) ?([*+]) ?(\d{1,9}) ?= ?(\d{1,9})")
Equation = tuple[int, str, int, int]


@dataclass(frozen=True)
class Step:
    """One line. `copied`: it does a part that was still to be done and adds it to the total so far."""

    equations: tuple[Equation, ...]
    copied: bool


@dataclass(frozen=True)
class Trace:
    """The lines of a completion. `total` is what its last equation says; `finished`: every part of
    the product was done, each once, with the totals carried over."""

    steps: tuple[Step, ...]
    total: int | None
    finished: bool


@dataclass(frozen=True)
class MultiplicationSkills:
    """Shares in 0..1, steps a completion and tokens a completion.

    equations  of equations: are true
    copying    of steps: do a part that was still to be done and add it to the total so far
    stopping   of completions with all parts done: stop there and answer their last total
    finished   of completions: all parts done
    format     of completions: tags complete and in order
    accuracy   of completions: exactly correct
    """

    completions: int
    steps: float
    tokens: float
    equations: float
    copying: float
    stopping: float
    finished: float
    format: float
    accuracy: float


def read_trace(text: str, a: int, b: int) -> Trace:
    """The steps of a completion to a * b; lines without an equation are passed over."""
    left = Counter((x, y) for x in places(a) for y in places(b))
    steps: list[Step] = []
    total = 0
    for line in text.split("</think>", maxsplit=1)[0].splitlines():
        equations = tuple((int(x), op, int(y), int(z)) for x, op, y, z in EQUATION.findall(line))
        if not equations:
            continue
        x, op, y, product = equations[0]
        copied = op == "*" and left[x, y] > 0
        left[x, y] -= 1
        copied &= [(x, op, y) for x, op, y, _ in equations[1:]] == ([(total, "+", product)] if total else [])
        total = equations[-1][3]
        steps.append(Step(equations, copied))
    finished = all(step.copied for step in steps) and left.total() == 0
    return Trace(tuple(steps), total if steps else None, finished)


def places(number: int) -> list[int]:
    """What the digits of a number stand for, highest first, zeros left out: 305 -> [300, 5]."""
    text = str(number)
    return [int(digit) * 10 ** (len(text) - 1 - place) for place, digit in enumerate(text) if digit != "0"]


def is_true(equation: Equation) -> bool:
    left, op, right, value = equation
    return value == (left * right if op == "*" else left + right)


def measure_multiplication(groups: Sequence[Group]) -> MultiplicationSkills:
    """Count over all rollouts of `groups` (multiplication problems)."""
    rollouts = [(group.problem.fields, rollout) for group in groups for rollout in group.rollouts]
    traces = [read_trace(rollout.completion.text, fields["a"], fields["b"]) for fields, rollout in rollouts]
    parts = [read_tags(rollout.completion.text) for _, rollout in rollouts]
    steps = [step for trace in traces for step in trace.steps]
    return MultiplicationSkills(
        completions=len(rollouts),
        steps=len(steps) / len(rollouts),
        tokens=sum(len(rollout.completion.token_ids) for _, rollout in rollouts) / len(rollouts),
        equations=share([is_true(equation) for step in steps for equation in step.equations]),
        copying=share([step.copied for step in steps]),
        stopping=share([part.answer == str(trace.total) for trace, part in zip(traces, parts) if trace.finished]),
        finished=share([trace.finished for trace in traces]),
        format=share([part.ordered for part in parts]),
        accuracy=share([rollout.score.correct for _, rollout in rollouts]),
    )

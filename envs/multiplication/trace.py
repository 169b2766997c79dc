"""Reads the trace language of multiplication: which parts of the product a completion computes, and whether
correctly.

A line with at least one equation, `40 * 8 = 320, 1200 + 320 = 1520`, is checked exactly: whether its equations
are true, whether its product is a part that was still missing, and whether its sum adds that part to the total
so far.
"""

import re
from collections import Counter
from dataclasses import dataclass

EQUATION = re.compile(r"(\d{1,9}) ?([*+]) ?(\d{1,9}) ?= ?(\d{1,9})")
LineEquation = tuple[int, str, int, int]  # left, sign, right, stated value


@dataclass(frozen=True)
class TraceLine:
    """One line with equations. `copied`: it computes a part that was still missing and adds it to the total."""

    equations: tuple[LineEquation, ...]
    copied: bool


@dataclass(frozen=True)
class MultiplicationTrace:
    """The lines of a completion.

    total     the value of the last equation; None without equations
    finished  every part of the product was computed once, and all totals were carried over
    """

    lines: tuple[TraceLine, ...]
    total: int | None
    finished: bool


def read_trace(text: str, a: int, b: int) -> MultiplicationTrace:
    """Read a completion to a * b up to </think>; lines without an equation are ignored."""
    missing = Counter((x, y) for x in digit_values(a) for y in digit_values(b))
    lines: list[TraceLine] = []
    total = 0
    for line in text.split("</think>", maxsplit=1)[0].splitlines():
        equations = tuple((int(x), sign, int(y), int(z)) for x, sign, y, z in EQUATION.findall(line))
        if not equations:
            continue
        x, sign, y, product = equations[0]
        copied = sign == "*" and missing[x, y] > 0
        missing[x, y] -= 1
        copied &= [(x, sign, y) for x, sign, y, _ in equations[1:]] == ([(total, "+", product)] if total else [])
        total = equations[-1][3]
        lines.append(TraceLine(equations, copied))
    finished = all(line.copied for line in lines) and missing.total() == 0
    return MultiplicationTrace(tuple(lines), total if lines else None, finished)


def digit_values(number: int) -> list[int]:
    """The value of each digit, highest first, without zeros: 305 -> [300, 5]."""
    text = str(number)
    return [int(digit) * 10 ** (len(text) - 1 - index) for index, digit in enumerate(text) if digit != "0"]


def is_true(equation: LineEquation) -> bool:
    left, sign, right, value = equation
    return value == (left * right if sign == "*" else left + right)

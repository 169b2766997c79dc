"""Answers beyond plain numbers, written in LaTeX: sets, intervals, roots, tuples, by math-verify.

It works on sympy, whose run time nobody can bound, so callers keep it in a process that they can kill
(envs/grading.py). Only its LaTeX grammar is used: its plain-expression reader evaluates text.
"""

import logging
from functools import lru_cache
from typing import Any

from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 1000
# math-verify warns at every call that its own time limit is off.
logging.getLogger("math_verify").setLevel(logging.ERROR)


class LatexError(ValueError):
    """The text is not mathematics in LaTeX that could be read."""


def check_latex(answer: str | None, expected: str) -> Verdict:
    """Is the answer equal to `expected`, which is LaTeX?

    Raises:
        LatexError: `expected` can't be read.
    """
    from math_verify import verify  # 2 s of sympy that only this check should cost

    if answer is None or not answer.strip():
        return NO_ANSWER
    if len(answer) > MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    found = read_latex(answer)
    if not found:
        return Verdict(False, False, "can't be read as mathematics")
    gold = _gold(expected)
    if verify(gold, found, timeout_seconds=None, raise_on_error=True):
        return CORRECT
    return Verdict(False, True, f"is {found[-1]}, not {expected}")


def read_latex(text: str) -> list[Any]:
    """What math-verify reads in `text`, which may but need not stand in \\boxed{} or between $ signs."""
    from math_verify import LatexExtractionConfig, parse

    text = text.strip().strip("$").strip()
    if r"\boxed" not in text:
        text = rf"\boxed{{{text}}}"
    return parse(text, [LatexExtractionConfig()], parsing_timeout=None)


@lru_cache(maxsize=4096)
def _gold(expected: str) -> list[Any]:
    gold = read_latex(expected)
    if not gold:
        raise LatexError(f"the answer of the problem can't be read as LaTeX: {expected!r}")
    return gold

"""Checks answers in LaTeX (sets, intervals, roots, tuples) with math-verify.

math-verify uses sympy, whose run time is unbounded, so callers run it in a process that can be killed
(envs/grading.py). Only its LaTeX grammar is used, because its parser for plain expressions evaluates text.
"""

import logging
from functools import lru_cache
from typing import Any

from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 1000
# math-verify warns in every call that its own timeout is disabled.
logging.getLogger("math_verify").setLevel(logging.ERROR)


class LatexError(ValueError):
    """The text could not be parsed as LaTeX mathematics."""


def check_latex(answer: str | None, expected: str) -> Verdict:
    """Check whether the answer equals `expected`, both in LaTeX.

    Raises:
        LatexError: `expected` could not be parsed.
    """
    from math_verify import verify  # imports sympy, which takes 2 s

    if answer is None or not answer.strip():
        return NO_ANSWER
    if len(answer) > MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    found = read_latex(answer)
    if not found:
        return Verdict(False, False, "could not be parsed as mathematics")
    gold = _gold(expected)
    if verify(gold, found, timeout_seconds=None, raise_on_error=True):
        return CORRECT
    return Verdict(False, True, f"is {found[-1]}, not {expected}")


def read_latex(text: str) -> list[Any]:
    """The expressions that math-verify finds in `text`, with or without \\boxed{} or $ signs around it."""
    from math_verify import LatexExtractionConfig, parse

    text = text.strip().strip("$").strip()
    if r"\boxed" not in text:
        text = rf"\boxed{{{text}}}"
    return parse(text, [LatexExtractionConfig()], parsing_timeout=None)


@lru_cache(maxsize=4096)
def _gold(expected: str) -> list[Any]:
    gold = read_latex(expected)
    if not gold:
        raise LatexError(f"the answer of the problem could not be parsed as LaTeX: {expected!r}")
    return gold

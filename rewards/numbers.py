"""Parses a single number in common notations: `-$1,234.50`, `3/4`, `2 1/2`, `1e3`, `50%`, `18 eggs.`

Words and units around the number are ignored. Text with more than one number is rejected rather than guessed at,
except that only the text after the last `=` is read.
"""

import re
import unicodedata
from fractions import Fraction

from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 200

MAGNITUDE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+(?!,[0-9]))(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3}(?![0-9]))?"
# `18/hour` and `5-foot` have units; `18+` and `18-` are incomplete.
ENDED = r"(?![.,]? ?[-+/^](?![A-Za-z]))"
NUMBER = re.compile(rf"(?<![\w.,/^+-])(?P<sign>[-+]?)(?P<magnitude>{MAGNITUDE}|\.[0-9]+)(?![.,]?[0-9]){ENDED}")
FRACTION = re.compile(
    r"(?<![\w.,/^+-])(?P<sign>[-+]?)(?:(?P<whole>[0-9]+) +)?(?P<over>[0-9]+) ?/ ?(?P<under>[0-9]+)"
    rf"(?![.,]?[0-9]){ENDED}"
)
LATEX = (
    (re.compile(r"\\boxed\s*\{(.*)\}", re.DOTALL), r"\1"),
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;! ]|\\(?=[$%])"), ""),
)
SCALE_WORD = re.compile(r"\b(?:half|dozens?|hundreds?|thousands?|millions?|billions?|trillions?)\b", re.IGNORECASE)


class NumberError(ValueError):
    """The text is not a single number; the message gives the reason."""


def read_number(text: str) -> Fraction:
    """Parse the only number in `text`, exactly. A percent sign counts as a unit: `50%` is 50.

    Raises:
        NumberError: there is no number, more than one, or an ambiguous one.
    """
    if len(text) > MAX_LENGTH:
        raise NumberError(f"longer than {MAX_LENGTH} characters")
    if any(unicodedata.category(c) == "Cf" or (c.isnumeric() and not c.isascii()) for c in text):
        raise NumberError("contains invisible characters or digits other than 0-9")
    if SCALE_WORD.search(text):
        raise NumberError("contains a number word; write the number in digits")
    text = _plain(text)
    if re.search(r"(?<!^)[-+]\s+[-+]?\.?[0-9]", text):
        raise NumberError("a sign separated from its number is ambiguous")
    text = re.sub(r"^([-+])\s+", r"\1", text)
    values: list[Fraction] = []
    text = FRACTION.sub(lambda match: _keep(values, _fraction(match)), text)
    text = NUMBER.sub(lambda match: _keep(values, _decimal(match)), text)
    if re.search("[0-9]", text) or len(values) > 1:
        raise NumberError("contains more than one number")
    if not values:
        raise NumberError("contains no number")
    return values[0]


def check_number(answer: str | None, expected: Fraction) -> Verdict:
    """Check whether the answer is exactly the expected number."""
    if answer is None or not answer.strip():
        return NO_ANSWER
    try:
        value = read_number(answer)
    except NumberError as error:
        return Verdict(False, False, str(error))
    return CORRECT if value == expected else Verdict(False, True, f"is {value}, not {expected}")


def _plain(text: str) -> str:
    """Remove LaTeX commands, currency and percent signs, and the text before the last `=`."""
    for pattern, replacement in LATEX:
        text = pattern.sub(replacement, text)
    text = text.rpartition("=")[2].replace("−", "-")
    return re.sub(r"[$€£¥₹%]", "", text).strip()


def _keep(values: list[Fraction], value: Fraction) -> str:
    values.append(value)
    return " "


def _fraction(match: re.Match[str]) -> Fraction:
    if int(match["under"]) == 0:
        raise NumberError("divides by zero")
    value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
    return -value if match["sign"] == "-" else value


def _decimal(match: re.Match[str]) -> Fraction:
    value = Fraction(match["magnitude"].replace(",", "").rstrip("."))
    return -value if match["sign"] == "-" else value

"""Finds equations in the text of a model, with their positions.

An equation has an expression on one side and a number on the other: `(44 + 19) * 2 = 126`. Models write equations
in sentences, lists, LaTeX and chains (`= 63 * 2 = 126`), so surrounding text is removed. Expressions are parsed by
rewards/expression.py, never evaluated as code, and every regular expression runs in linear time.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from rewards.expression import ExpressionError, parse

Value = int | Fraction
MAX_EQUATIONS = 5000  # a completion of 32,000 tokens that consists of equations only

# A side cannot start inside a run of these characters, so that no run is scanned twice.
INSIDE = r"[-+*/() 0-9._]"
# Groups 1..4 match the most frequent form, `16 - 8 = 8`; group 5 matches the left side of any other form.
TINY = r" {0,3}([0-9]{1,9}) ([-+*/]) ([0-9]{1,9}) = ([0-9]{1,9})(?=[,\n]| [a-z(\u4e00-\u9fff]|$)"
SIDE = re.compile(rf"(?<!{INSIDE})(?:{TINY}|({INSIDE}{{1,300}}+)=)")
RIGHT = re.compile(rf"{INSIDE}{{1,300}}+")
NUMBER = re.compile(r" *(-?[0-9_]{1,9}(?:\.[0-9]{1,9}|/[0-9]{1,9})?)(?![0-9_%])")
REVERSED = re.compile(rf"(?<![-+*/(=0-9._ ])( ?[0-9]{{1,9}} ?)=({INSIDE}{{1,300}}+)(?![=0-9%])")
TOKEN = re.compile(r"[0-9_]+(?:\.[0-9]+)?|[-+*/().]")
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
TIMES = re.compile(r"(?<=[0-9)]) ?x ?(?=[0-9(])")
SIGNS = str.maketrans("×÷−–·$", "*/--* ")
LATEX = {"\\times": "*", "\\cdot": "*", "\\div": "/", "\\(": " ", "\\)": " ", "\\[": " ", "\\]": " "}


class Equation(NamedTuple):  # a tuple, since thousands are created in every training step
    """`text[start:end]` states that an expression over `numbers` equals `value`.

    numbers   the operands in textual order
    signs     the operators and parentheses between them
    value     the stated value; decimals are read exactly as written
    is_true   the expression has exactly this value; a decimal may be truncated or rounded
    restates  the left side repeats the right side of the previous equation: the second equation of
              `(44 + 19) * 2 = 63 * 2 = 126`
    """

    start: int
    end: int
    numbers: tuple[int, ...]
    signs: str
    value: Value
    is_true: bool
    restates: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an equation; `start` and `end` are positions in the text of the side."""

    start: int
    end: int
    numbers: tuple[int, ...]
    signs: str
    value: Fraction | None  # None for a division by zero


def end_of_thought(text: str) -> int:
    """The position at which the thought ends: at </think>, else at <answer>, else at the end of the text."""
    end = text.find("</think>")
    end = end if end >= 0 else text.find("<answer>")
    return end if end >= 0 else len(text)


def read_equations(thought: str) -> list[Equation]:
    """The first MAX_EQUATIONS equations of a thought, in order, with integer operands of up to 9 digits."""
    text = _normalized(thought)
    found: list[Equation] = []
    restates = False
    for match in SIDE.finditer(text):
        if match[2] is not None:
            numbers, value, is_true = _calculate(match[1], match[2], match[3], match[4])
            found.append(Equation(match.start(1), match.end(), numbers, match[2], value, is_true, restates))
            restates = False
        else:
            equation, restates = _read(text, match, restates)
            if equation is not None:
                found.append(equation)
        if len(found) >= MAX_EQUATIONS:
            break
    if text.count("=") == len(found):
        return found
    reversed_ = [equation for match in REVERSED.finditer(text) if (equation := _read_reversed(match)) is not None]
    return sorted(found + reversed_)


@lru_cache(maxsize=1 << 16)
def _calculate(left: str, sign: str, right: str, stated: str) -> tuple[tuple[int, int], int, bool]:
    """The operands, the stated value, and whether the equation is true."""
    value = int(stated)
    return (int(left), int(right)), value, apply(int(left), sign, int(right), rational=True) == value


def _normalized(text: str) -> str:
    """The text with a single spelling of each sign. Every replacement keeps its length, so positions stay valid.
    In the result an underscore is a thousands separator."""
    if "_" in text:
        text = text.replace("_", " ")
    if not text.isascii() or "$" in text:
        text = text.translate(SIGNS)
    if "\\" in text:
        for written, sign in LATEX.items():
            text = text.replace(written, sign.ljust(len(written)))
    if "," in text:
        text = THOUSANDS.sub("_", text)
    if "x" in text:
        text = TIMES.sub(lambda found: "*".center(len(found[0])), text)
    return text


def _read(text: str, match: re.Match[str], restates: bool) -> tuple[Equation | None, bool]:
    """The equation whose left side is `match`, and whether the next equation restates its right side."""
    at_line_start = match.start() == 0 or text[match.start() - 1] == "\n"
    left = _last_expression(match[5], at_line_start)
    right = RIGHT.match(text, match.end())
    number = NUMBER.match(text, match.end())
    if left is None or number is None or right is None:
        return None, False
    start, stated = match.start(5) + left.start, _number(number[1])
    chained = _first_expression(right[0])
    if left.value is not None and chained is not None and chained.value == left.value:
        continues = text[match.end() + chained.end : match.end() + chained.end + 4].lstrip(" ")[:1] == "="
        end = match.end() + (0 if continues else chained.end)
        return Equation(start, end, left.numbers, left.signs, left.value, True, restates), continues
    is_true = left.value is not None and abs(left.value - stated) < _last_decimal(number[1])
    return Equation(start, number.end(1), left.numbers, left.signs, stated, is_true, restates), False


def _read_reversed(match: re.Match[str]) -> Equation | None:
    """An equation with the number first: `98 = 44 + 19 + 35`."""
    right = _first_expression(match[2])
    if right is None or right.value is None:
        return None
    value = Fraction(int(match[1]))
    start = match.end(1) - len(match[1].lstrip())
    return Equation(start, match.start(2) + right.end, right.numbers, right.signs, value, right.value == value)


@lru_cache(maxsize=1 << 14)
def _last_expression(run: str, at_line_start: bool) -> Side | None:
    """The expression at the end of a run of signs and numbers. None if there is no expression, or if it is the
    remainder of something unreadable: `x - 17 + 1`, `50% * 20 + 5`."""
    start = run.rfind(". ") + 1
    tokens = [(token[0], token.start()) for token in TOKEN.finditer(run, start)]
    begin = 0
    unclosed: list[int] = []  # indices of open parentheses
    for index, (token, _) in enumerate(tokens):
        follows_operand = index > begin and (tokens[index - 1][0] == ")" or tokens[index - 1][0][0].isdigit())
        if follows_operand and (token == "(" or token[0].isdigit()):
            begin, unclosed = index, []
        if token == "(":
            unclosed.append(index)
        elif token == ")" and unclosed:
            unclosed.pop()
        elif token == ")":
            begin, unclosed = index + 1, []
    if unclosed:
        begin = unclosed[-1] + 1
    kept = tokens[begin:]
    if kept and kept[0][0] in "-+*/":
        unary = kept[0][0] == "-" and len(kept) > 1 and kept[1][1] == kept[0][1] + 1
        is_bullet = begin == 0 and at_line_start and start == 0
        if not unary and not is_bullet:
            return None
        kept = kept if unary else kept[1:]
    return _side(kept)


@lru_cache(maxsize=1 << 14)
def _first_expression(run: str) -> Side | None:
    """The expression at the beginning of a run, if it has at least one sign."""
    stop = run.find(". ")
    kept: list[tuple[str, int]] = []
    depth = 0
    for token in TOKEN.finditer(run, 0, stop if stop >= 0 else len(run)):
        is_operand = token[0][0].isdigit() or token[0] == "("
        if kept and is_operand and (kept[-1][0] == ")" or kept[-1][0][0].isdigit()):
            break
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth < 0:
            break
        kept.append((token[0], token.start()))
    while kept and kept[-1][0] in "-+*/(.":
        kept.pop()
    return _side(kept)


def _side(tokens: list[tuple[str, int]]) -> Side | None:
    """The tokens as an expression; None if they are not one with at least two numbers."""
    words = [token.replace("_", "") for token, _ in tokens]
    if sum(word[:1].isdigit() for word in words) < 2:
        return None
    try:
        expression = parse(" ".join(words))
    except ExpressionError:
        return None
    numbers, signs = expression.numbers, "".join(word for word in words if not word[:1].isdigit())
    if words[0] == "-" and words[1][:1].isdigit():
        numbers, signs = (-numbers[0], *numbers[1:]), signs[1:]
    last, position = tokens[-1]
    return Side(tokens[0][1], position + len(last), numbers, signs, expression.value)


def _number(text: str) -> Fraction:
    """An integer, a decimal or a fraction; a fraction with denominator 0 is read as its numerator."""
    whole, _, below = text.replace("_", "").partition("/")
    return Fraction(whole) / (int(below) or 1) if below else Fraction(whole or "0")


def _last_decimal(text: str) -> Fraction:
    """The tolerance of a truncated or rounded decimal: 0.01 for 3.33. Other numbers must be exact."""
    decimals = len(text.partition(".")[2])
    return Fraction(1, 10**decimals) if decimals else Fraction(1, 10**18)


def apply(left: Value, sign: str, right: Value, rational: bool = False) -> Value | None:
    """`left sign right`, or None for a division by zero or, unless `rational`, one with a remainder."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if right == 0 or (left % right != 0 and not rational):
        return None
    return Fraction(left) / right if rational else left // right

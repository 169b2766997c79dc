"""Reading equations out of what a model wrote, with their places in the text.

An equation has signs on one side, `(44 + 19) * 2 = 126`, and says a number on the other. Models write
them in sentences, lists, LaTeX and chains (`= 63 * 2 = 126`), so what surrounds them is cut off here.
Nothing is evaluated that rewards/expression.py could not parse, and every pattern is linear.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from envs.countdown.task import apply
from rewards.expression import ExpressionError, parse

Value = int | Fraction
MOST_EQUATIONS = 5000  # a completion of 32,000 tokens that is nothing but equations

# A side may not start within a run of these, so that no run is read twice.
INSIDE = r"[-+*/() 0-9._]"
# The groups are those of the most frequent kind, `16 - 8 = 8`, or the left side of any other.
TINY = r" {0,3}([0-9]{1,9}) ([-+*/]) ([0-9]{1,9}) = ([0-9]{1,9})(?=[,\n]| [a-z(]|$)"
SIDE = re.compile(rf"(?<!{INSIDE})(?:{TINY}|({INSIDE}{{1,300}}+)=)")
RIGHT = re.compile(rf"{INSIDE}{{1,300}}+")
NUMBER = re.compile(r" *(-?[0-9_]{1,9}(?:\.[0-9]{1,9}|/[0-9]{1,9})?)(?![0-9_%])")
TURNED = re.compile(rf"(?<![-+*/(=0-9._ ])( ?[0-9]{{1,9}} ?)=({INSIDE}{{1,300}}+)(?![=0-9%])")
TOKEN = re.compile(r"[0-9_]+(?:\.[0-9]+)?|[-+*/().]")
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
TIMES = re.compile(r"(?<=[0-9)]) ?x ?(?=[0-9(])")
SIGNS = str.maketrans("×÷−–·$", "*/--* ")
LATEX = {"\\times": "*", "\\cdot": "*", "\\div": "/", "\\(": " ", "\\)": " ", "\\[": " ", "\\]": " "}


class Equation(NamedTuple):  # a tuple, for thousands are made at every step
    """`text[start:end]` says that an expression over `numbers` is `value`.

    numbers   the operands in the order written
    signs     the operations and parentheses between them
    value     what it says; a decimal stands for itself
    is_true   the expression is exactly that; a decimal may be cut or rounded
    restates  it only writes the side before it anew: the second of `(44 + 19) * 2 = 63 * 2 = 126`
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
    """One side of an equation; `start` and `end` are places in the text of the side."""

    start: int
    end: int
    numbers: tuple[int, ...]
    signs: str
    value: Fraction | None  # None: divides by zero


def end_of_thought(text: str) -> int:
    """Where the thought ends: at </think>, where that is missing at <answer>, or with the text."""
    end = text.find("</think>")
    end = end if end >= 0 else text.find("<answer>")
    return end if end >= 0 else len(text)


def read_equations(thought: str) -> list[Equation]:
    """The equations of a thought, in order, MOST_EQUATIONS at most; whole operands of up to 9 digits."""
    text = _plain(thought)
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
        if len(found) >= MOST_EQUATIONS:
            break
    if text.count("=") == len(found):
        return found
    turned = [equation for match in TURNED.finditer(text) if (equation := _read_turned(match)) is not None]
    return sorted(found + turned)


@lru_cache(maxsize=1 << 16)
def _calculate(left: str, op: str, right: str, said: str) -> tuple[tuple[int, int], int, bool]:
    value = int(said)
    return (int(left), int(right)), value, apply(int(left), op, int(right), rational=True) == value


def _plain(text: str) -> str:
    """The text with one way to write each sign, character by character, so that places stay. From here
    on an underscore is a comma between thousands."""
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
    """The equation whose left side `match` holds, and whether the next one restates its right side."""
    at_line_start = match.start() == 0 or text[match.start() - 1] == "\n"
    left = _last_expression(match[5], at_line_start)
    right = RIGHT.match(text, match.end())
    number = NUMBER.match(text, match.end())
    if left is None or number is None or right is None:
        return None, False
    start, said = match.start(5) + left.start, _number(number[1])
    chained = _first_expression(right[0])
    if left.value is not None and chained is not None and chained.value == left.value:
        goes_on = text[match.end() + chained.end : match.end() + chained.end + 4].lstrip(" ")[:1] == "="
        end = match.end() + (0 if goes_on else chained.end)
        return Equation(start, end, left.numbers, left.signs, left.value, True, restates), goes_on
    is_true = left.value is not None and abs(left.value - said) < _last_place(number[1])
    return Equation(start, number.end(1), left.numbers, left.signs, said, is_true, restates), False


def _read_turned(match: re.Match[str]) -> Equation | None:
    """`98 = 44 + 19 + 35`, the number first."""
    right = _first_expression(match[2])
    if right is None or right.value is None:
        return None
    value = Fraction(int(match[1]))
    start = match.end(1) - len(match[1].lstrip())
    return Equation(start, match.start(2) + right.end, right.numbers, right.signs, value, right.value == value)


@lru_cache(maxsize=1 << 14)
def _last_expression(run: str, at_line_start: bool) -> Side | None:
    """The expression that a run of signs and numbers ends with; None where it is none, or is the rest
    of something that can't be read: `x - 17 + 1`, `50% * 20 + 5`."""
    start = run.rfind(". ") + 1
    tokens = [(token[0], token.start()) for token in TOKEN.finditer(run, start)]
    begin = 0
    open_places: list[int] = []
    for place, (token, _) in enumerate(tokens):
        follows = place > begin and (tokens[place - 1][0] == ")" or tokens[place - 1][0][0].isdigit())
        if follows and (token == "(" or token[0].isdigit()):
            begin, open_places = place, []
        if token == "(":
            open_places.append(place)
        elif token == ")" and open_places:
            open_places.pop()
        elif token == ")":
            begin, open_places = place + 1, []
    if open_places:
        begin = open_places[-1] + 1
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
    """The expression that a run begins with, where it has signs."""
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
    """These tokens as an expression with at least one sign between two numbers."""
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
    last, place = tokens[-1]
    return Side(tokens[0][1], place + len(last), numbers, signs, expression.value)


def _number(text: str) -> Fraction:
    """A whole number, a decimal or a fraction; one over zero is read as its numerator."""
    whole, _, below = text.replace("_", "").partition("/")
    return Fraction(whole) / (int(below) or 1) if below else Fraction(whole or "0")


def _last_place(text: str) -> Fraction:
    """0.01 for 3.33: how far a cut or rounded decimal may be off. What is no decimal must be exact."""
    decimals = len(text.partition(".")[2])
    return Fraction(1, 10**decimals) if decimals else Fraction(1, 10**18)

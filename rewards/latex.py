"""Checks answers in LaTeX (sets, intervals, roots, tuples) exactly.

Equal text is correct. Two plain numbers are compared as fractions. Everything else is parsed by math-verify, with
decimals as fractions. A decimal is an approximation only if it says so (`\\approx 1.41421`, `1.41421...`).

math-verify uses sympy, whose run time is unbounded, so callers run it in a process that can be killed
(envs/grading.py). Only its LaTeX grammar is used, because its parser for plain expressions evaluates text.
"""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import cache, lru_cache, partial
from typing import Any

from rewards.latex_text import TEXT_COMMAND, mathematics, normalized
from rewards.numbers import NumberError, read_number
from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 1000
PRECISION = 100  # digits to which math-verify compares numbers that are not rational
DIGITS = 6  # significant digits that an approximate answer needs

DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)(?![0-9.])")
REPEATING = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]*)\\(?:overline|bar)(?:\{([0-9]+)\}|([0-9]))(?![0-9.])")
# math-verify does not read an argument \pi without braces.
BARE_PI = re.compile(r"(\\frac ?(?:\{(?:[^{}]|\{[^{}]*\})*\}|[0-9a-z])?|\\sqrt(?:\[[0-9a-z]\])?)(\\pi)(?![A-Za-z]) ?")
WITH_BASE = re.compile(r"([0-9A-Za-z]+)_\{?([0-9]{1,2})\}?")
HAS_BASE = re.compile(r"[0-9]\s*_\{?[0-9]|(?<![0-9A-Za-z])[0-9]+[A-Fa-f][0-9A-Fa-f]*_\{?1[1-6]")
APPROXIMATE = re.compile(r"(?:.*(?:\\approx|≈))?\s*(-?[0-9]+\.[0-9]+)\s*(?:\.\.\.|…|\\[lc]?dots)?")
SAYS_SO = re.compile(r"\\approx|≈|\.\.\.|…|\\[lc]?dots")
LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])|\\(?:alpha|beta|gamma|theta|phi|lambda|mu|omega)")
VARIABLE = re.compile(r"(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?|'|\([^()]*\))*")
ELEMENT_OF = re.compile(r"[A-Za-z]\s*\\in(?![a-z])\s*")
ORDERED = re.compile(r"(?=.*,)[(\[](?:[^()\[\]]|[(\[][^()\[\]]*[)\]])*[)\]]")  # a point or an interval
UNORDERED = re.compile(r"\\\{.*\\\}|.*\\pm.*")
# As algebra, a word would be the product of its letters, in any order.
NAME = re.compile(TEXT_COMMAND + r"\{\s*[A-Za-z]{2}[A-Za-z ]*\}")
# math-verify passes over what it does not understand.
UNREAD = re.compile(
    r"[?#@$`\"…±√∛²³½π×÷·]|[0-9]'|^[*/^_=<>,;:)}\]%!']|^\\%|[-+*/^_=<>\\({\['&]$"
    r"|\\(?:neq?|sim|not)(?![a-z])|\\(?:pm|mp|sqrt)\s*$|\}_[0-9]"
)
# math-verify warns in every call that its own timeout is disabled.
logging.getLogger("math_verify").setLevel(logging.ERROR)


def check_latex(answer: str | None, expected: str) -> Verdict:
    """Check whether the answer equals `expected`, both in LaTeX. An answer that differs from a reference answer that
    is not mathematics is wrong."""
    if answer is None or not answer.strip():
        return NO_ANSWER
    if len(answer) > MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    if _same_text(normalized(answer), normalized(expected)):
        return CORRECT
    text, gold = mathematics(answer), mathematics(expected)
    if text is None:
        return Verdict(False, False, "could not be read as mathematics")
    gold = normalized(expected) if gold is None else gold
    if _same_text(text, gold):
        return CORRECT
    equal = False if NAME.fullmatch(expected.strip(" $.")) else _compare(text, gold)
    if equal is None:
        return Verdict(False, False, "could not be parsed as mathematics")
    return CORRECT if equal else Verdict(False, True, f"is {text}, not {expected}")


def _same_text(text: str, gold: str) -> bool:
    """Whether two normalized texts are equal. `12,144` may be the list `12, 144`, which is normalized to `12;144`."""
    one_is_a_list = (";" in text) != (";" in gold)
    return text == gold or (one_is_a_list and text.replace(";", ",") == gold.replace(";", ","))


def _compare(text: str, gold: str) -> bool | None:
    """Whether two texts are equal as mathematics; None if the first could not be parsed."""
    if HAS_BASE.search(text) or HAS_BASE.search(gold):
        first, second = WITH_BASE.fullmatch(text), WITH_BASE.fullmatch(gold)
        return first is not None and second is not None and _digits(first) == _digits(second)
    if (re.search("[0-9] [0-9]", text) and not _is_number(text)) or _malformed(text):
        return None  # math-verify joins digits and drops what it cannot parse
    if SAYS_SO.search(text) or SAYS_SO.search(gold):
        return _approximates(text, gold)
    if "=" in text and "=" in gold and text.partition("=")[0] != gold.partition("=")[0]:
        return _algebra(text, gold)  # x = 3 is not y = 3
    text, gold = (ELEMENT_OF.sub("", part, count=1) for part in _named_values(text, gold))
    values = [part.rpartition("=")[2] for part in (text, gold)]
    shapes = {bool(ORDERED.fullmatch(value)) - bool(UNORDERED.fullmatch(value)) for value in values}
    if shapes == {1, -1}:
        return False  # to math-verify, the interval (0, 1) and the set {0, 1} are equal
    with suppress(NumberError):
        if 1 in shapes:
            raise NumberError("the point (3,500) is not 3500")
        value, other = read_number(text), read_number(gold)
        if ("%" in text) == ("%" in gold):
            return value == other
        percent, plain = (value, other) if "%" in text else (other, value)
        return percent in (plain, 100 * plain)
    if "=" in text and "=" not in gold and not _names_the_value(text.partition("=")[0]):
        return None
    return _algebra(text, gold)


def _named_values(text: str, gold: str) -> tuple[str, str]:
    """The two texts; if only one of them names several values, as `a=1,b=2` does, both as points in the order of the
    names."""
    if ("=" in text) == ("=" in gold):
        return text, gold
    named, plain = (text, gold) if "=" in text else (gold, text)
    values = dict(part.split("=") for part in named.split(",") if part.count("=") == 1)
    if len(values) < 2 or len(values) != len(named.split(",")):
        return text, gold
    point = "({})".format(",".join(values[name] for name in sorted(values)))
    plain = plain if ORDERED.fullmatch(plain) else f"({plain})"
    return (point, plain) if named is text else (plain, point)


def _is_number(text: str) -> bool:
    """Whether the text is a plain number, such as the mixed number `2 1/2`."""
    try:
        read_number(text)
    except NumberError:
        return False
    return True


def _malformed(text: str) -> bool:
    """Whether a part of the text is no mathematics: an unknown character, a dangling sign or an unpaired bracket."""
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return True
    brackets = len(re.findall(r"[(\[]", text)) == len(re.findall(r"[)\]]", text))
    equation_inside = re.search(r"\{[^{}]*=[^{}]*\}", text) and r"\begin" not in text and r"\{" not in text
    return depth != 0 or not brackets or text.count("|") % 2 == 1 or bool(equation_inside or UNREAD.search(text))


def _digits(match: re.Match[str]) -> tuple[str, str]:
    return match[1].lstrip("0").upper(), match[2]


def _approximates(text: str, gold: str) -> bool | None:
    """Whether an approximate decimal and the other value agree to the decimal's last digit."""
    from sympy import Expr, Number, Rational  # imports sympy, which takes 2 s

    approximate, exact = (text, gold) if SAYS_SO.search(text) else (gold, text)
    match = APPROXIMATE.fullmatch(approximate)
    if match is None or (approximate is text and len(match[1].lstrip("-0.").replace(".", "")) < DIGITS):
        return None
    other = APPROXIMATE.fullmatch(exact)
    # What could not be parsed is a string, which sympy would evaluate as Python.
    value = Rational(other[1]) if other else next((v for v in _parsed(exact) if isinstance(v, Expr)), None)
    number = value.doit().evalf(50) if value is not None else None
    if not isinstance(number, Number) or not number.is_finite:
        return None
    last_digit = Rational(1, 10 ** len(match[1].partition(".")[2]))
    return bool(abs(number - Rational(match[1])) <= last_digit)


def _names_the_value(left: str) -> bool:
    """Whether the left side of an equation is what the question asks for, as `x` and `a + b` are and `2x` is not."""
    left = left.strip()
    return len(set(LETTERS.findall(left))) != 1 or VARIABLE.fullmatch(left) is not None


def _algebra(text: str, gold: str) -> bool | None:
    """Whether two texts are equal as algebra; None if the first could not be parsed. What sympy raises is an error of
    the grader: the answer may be correct or wrong."""
    from math_verify import verify
    from sympy import nan, zoo

    found, reference = _parsed(text), _parsed(gold)
    if not found:
        return None
    if reference and reference[0] in (nan, zoo):  # a text such as 12:00, which only the same text equals
        return False
    if reference and (equal := _equal_numbers(found[0], reference[0])) is not None:
        return equal
    return bool(verify(reference, found, numeric_precision=PRECISION, timeout_seconds=None, raise_on_error=True))


def _equal_numbers(value: Any, other: Any) -> bool | None:
    """Whether two rational numbers are equal; None if one of them is something else."""
    from sympy import Expr

    if not (isinstance(value, Expr) and isinstance(other, Expr)) or value.free_symbols or other.free_symbols:
        return None
    value, other = value.doit(), other.doit()
    if value.is_Rational and other.is_Rational:
        return bool(Fraction(value.p, value.q) == Fraction(other.p, other.q))
    return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Any]:
    """The expressions that math-verify finds in `text`, followed by the text; decimals are fractions."""
    from math_verify import LatexExtractionConfig

    text = BARE_PI.sub(r"\1{\2}", BARE_PI.sub(r"\1{\2}", text))
    exact = DECIMAL.sub(lambda m: rf"\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}", REPEATING.sub(_fraction, text))
    if exact.count(r"\pm") == 1 and not re.search(r"[,;]|\\mp", exact):
        exact = f"{exact},{exact}".replace(r"\pm", "+", 1).replace(r"\pm", "-")
    found = _parser()(rf"\boxed{{{exact}}}", [LatexExtractionConfig()], parsing_timeout=None)
    return [_with_constants(value) for value in found]


def _fraction(repeating: re.Match[str]) -> str:
    """A repeating decimal as a fraction: 1.2\\overline{34} is (1234 - 12) / 990."""
    whole, fixed, period = repeating[1], repeating[2], repeating[3] or repeating[4]
    numerator = int(whole + fixed + period) - int(whole + fixed or "0")
    return rf"\frac{{{numerator}}}{{{10 ** len(fixed) * (10 ** len(period) - 1)}}}"


def _with_constants(value: Any) -> Any:
    """The value with i as the imaginary unit, I as a symbol, and all symbols real except z and w.

    To math-verify, i is a symbol, real or not depending on the spaces around it, and I is the imaginary unit. It also
    ignores the case of a symbol's name, which therefore spells out its capitals.
    """
    from sympy import Eq, Expr, FiniteSet, I, Interval, MatrixBase, Symbol, Tuple

    if isinstance(value, Eq):
        return Eq(*map(_with_constants, value.args), evaluate=False)
    if isinstance(value, FiniteSet | Tuple) and all(isinstance(part, Expr | Eq) for part in value.args):
        return value.func(*map(_with_constants, getattr(value, "_unsorted_args", value.args)))
    if isinstance(value, Interval):  # whose ends must stay real
        return value.xreplace({s: Symbol(_spelled(s.name), real=s.is_real) for s in value.free_symbols})
    if not isinstance(value, Expr | MatrixBase):
        return value
    symbols = {s: Symbol(_spelled(s.name), real=s.name not in ("z", "w") or None) for s in value.free_symbols}
    units = {s: I for s in symbols if s.name == "i"}
    return value.xreplace({**symbols, **units, I: Symbol(_spelled("I"))})


def _spelled(name: str) -> str:
    return re.sub("([A-Z])", r"capital \1", name)


@cache
def _parser() -> Callable[..., list[Any]]:
    """The parser of math-verify. It has no setting by which `R` and `r` would be different symbols, but the parser that
    it calls has one. To its grader, two equations without real solutions would be equal."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from math_verify import grader, parser

    grader.solve = _solutions
    parser.latex2sympy = partial(latex2sympy, conversion_config=ConversionConfig(lowercase_symbols=False))
    return parser.parse


def _solutions(equation: Any, symbols: Any) -> Any:
    """
    Raises:
        NotImplementedError: as for an equation that sympy cannot solve, if there are no solutions.
    """
    from sympy import solve

    found = solve(equation, symbols)
    if not found:
        raise NotImplementedError("no real solution")
    return found

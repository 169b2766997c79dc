"""A parser for arithmetic over fractions: + - * / and parentheses on integers.

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/") factor)*
    factor  = ("-" | "+") factor | number | "(" sum ")"

It parses text that a model wrote: length, digits and nesting depth are limited, and nothing is evaluated as code.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 300
MAX_DIGITS = 9
MAX_DEPTH = 30

TOKEN = re.compile(r"\s*([0-9]+|[-+*/()])")


class ExpressionError(ValueError):
    """The text is not an arithmetic expression; the message names the offending part."""


@dataclass(frozen=True)
class Expression:
    """`numbers` in textual order; `value` is None for a division by zero."""

    value: Fraction | None
    numbers: tuple[int, ...]


def parse(text: str) -> Expression:
    """Parse one expression.

    Raises:
        ExpressionError: the text is not an expression, or exceeds a limit of length, digits or depth.
    """
    parser = _Parser(_tokens(text))
    value = parser.sum(0)
    if parser.peek() is not None:
        raise ExpressionError(f"unexpected {parser.peek()!r}")
    return Expression(value, tuple(parser.numbers))


def _tokens(text: str) -> list[str]:
    text = text.strip().replace("×", "*").replace("÷", "/").replace("−", "-")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    tokens, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unexpected {text[position]!r}")
        if len(match[1]) > MAX_DIGITS:
            raise ExpressionError(f"a number with more than {MAX_DIGITS} digits")
        tokens.append(match[1])
        position = match.end()
    return tokens


class _Parser:
    """A recursive-descent parser. The value None stands for a division by zero and propagates."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.numbers: list[int] = []

    def peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self) -> str:
        token = self.peek()
        if token is None:
            raise ExpressionError("ends too early")
        self.position += 1
        return token

    def sum(self, depth: int) -> Fraction | None:
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            right = self.product(depth)
            value = None if value is None or right is None else value + sign * right
        return value

    def product(self, depth: int) -> Fraction | None:
        value = self.factor(depth)
        while self.peek() in ("*", "/"):
            op = self.take()
            right = self.factor(depth)
            if value is None or right is None or (op == "/" and right == 0):
                value = None
            else:
                value = value * right if op == "*" else value / right
        return value

    def factor(self, depth: int) -> Fraction | None:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}")
        token = self.take()
        if token in ("-", "+"):
            value = self.factor(depth + 1)
            return -value if value is not None and token == "-" else value
        if token == "(":
            value = self.sum(depth + 1)
            if self.take() != ")":
                raise ExpressionError("a parenthesis is not closed")
            return value
        if not token.isdigit():
            raise ExpressionError(f"unexpected {token!r}")
        self.numbers.append(int(token))
        return Fraction(int(token))

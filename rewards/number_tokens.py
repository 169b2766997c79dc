"""Splits an answer into tokens for rewards/numbers.py. Text that is no token is an error; nothing is skipped.

Markup (`$`, `**`, backticks, `\\text{}`) makes no token, but the texts on its two sides are never joined.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from rewards.number_words import NEGATIVE, POSITIVE, UNITS


class NumberError(ValueError):
    """The text is not a single number; the message gives the reason."""


class Kind(Enum):
    NUMBER = "number"
    WORD = "word"
    SIGN = "sign"
    OPEN = "("
    CLOSE = ")"
    SLASH = "/"
    CURRENCY = "currency"
    SUFFIX = "suffix"  # percent, degrees, the exponent of a unit
    STOP = "stop"  # punctuation


@dataclass(frozen=True)
class Token:
    """One token.

    value    the value of a number; +1 or -1 for a sign
    spaced   white space precedes the token
    whole    the number is an integer in digits
    command  the number is a fraction written as \\frac
    """

    kind: Kind
    text: str
    value: Fraction = Fraction(0)
    spaced: bool = False
    whole: bool = False
    command: bool = False


DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−－﹣⁻"), "-") | {ord("＋"): "+"}
SEPARATOR = r"(?:,(?:\\!)?|\{,\}|\\,)"
WHOLE = rf"(?:[1-9][0-9]{{0,2}}(?:{SEPARATOR}[0-9]{{3}})++(?![0-9])|[0-9]++(?!{SEPARATOR}[0-9]))"
NUMBER = re.compile(
    rf"(?:(?P<whole>{WHOLE})(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][-+]?[0-9]{{1,3}}+)?(?!{SEPARATOR}?[0-9]|\.[0-9.])"
)
ARGUMENT = rf"\s*(?:([0-9])|\{{\s*([-+]?\s*{WHOLE})\s*\}})"
FRACTION = re.compile(rf"\\[dtc]?frac(?![A-Za-z]){ARGUMENT}{ARGUMENT}")
LETTERS = r"[^\W\d_¹²³]+"
WORD = re.compile(rf"[apAP]\.[mM]\.|U\.S\.|{LETTERS}(?:['’]?{LETTERS}|[0-9])*")
EXPONENT = re.compile(r"(?:\^|\\textsuperscript)\s*(?:\{\s*-?[0-9]\s*\}|-?[0-9])|-?[¹²³](?![¹²³])")
DEGREE = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])|[°º℃℉]")
PERCENT = re.compile(r"\\?%")
CURRENCY = re.compile(r"\\\$|\\(?:pounds|euro|textdollar)(?![A-Za-z])|[€£¥₹₩₽¢]")
MARKUP = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|textsf|emph|mathrm|mathbf|mathit|mathsf|mbox|hbox|boxed|fbox|displaystyle"
    r"|left|right|rm|bf|it|big|Big)(?![A-Za-z])|\\[()\[\],!]|[$`{}\"“”«»'‘’]"
)
SPACE = re.compile(r"\\(?:quad|qquad)(?![A-Za-z])|\\[;: ]|\s+")
SIMPLE = {"(": Kind.OPEN, ")": Kind.CLOSE, "/": Kind.SLASH}
STOP = re.compile(r"\\\\|[.,;:。](?!\.)")
EMPHASIS = re.compile(
    r"(?<![\w*)\]}])(\*{1,3})(?=\S)([^*]+?)(?<=\S)\1(?!\*)|(?<![\w}])(_{1,2})(?=\S)([^_]+?)(?<=\S)\3(?!\w)"
)
BULLET = re.compile(r"^\s*(?:[*•]\s+|#{1,6}\s*)")


def unmarked(text: str) -> str:
    """The text with a single kind of dash, without a heading or bullet, and with backticks in place of emphasis."""
    text = BULLET.sub("", text.translate(DASHES))
    return EMPHASIS.sub(lambda found: f"`{found[2] or found[4]}`", text)


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text from `unmarked`.

    Raises:
        NumberError: a part of the text is not understood.
    """
    found: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        if match := SPACE.match(text, position):
            position, spaced = match.end(), True
        elif match := MARKUP.match(text, position):
            position = match.end()
        elif text[position] == "~" and any(token.kind is Kind.NUMBER for token in found):
            position, spaced = position + 1, True  # LaTeX's space between a number and its unit
        else:
            token, position = _token(text, position, found[-1] if found else None)
            found.append(replace(token, spaced=spaced))
            spaced = False
    return found


def divided(over: Fraction, under: Fraction) -> Fraction:
    if under == 0:
        raise NumberError("divides by zero")
    return over / under


def _token(text: str, position: int, before: Token | None) -> tuple[Token, int]:
    """The token at `position`, and where it ends."""
    if match := FRACTION.match(text, position):
        return Token(Kind.NUMBER, match[0], _fraction(match), command=True), match.end()
    if match := NUMBER.match(text, position):
        value = Fraction(re.sub(r"[^0-9.eE+-]", "", match[0]))
        return Token(Kind.NUMBER, match[0], value, whole=match[0] == match["whole"]), match.end()
    if match := DEGREE.match(text, position):
        if before is None or before.kind not in (Kind.NUMBER, Kind.CLOSE):
            raise NumberError("degrees without a number")
        return Token(Kind.SUFFIX, "°"), match.end()
    if match := EXPONENT.match(text, position):
        if before is None or before.text.lower() not in UNITS:
            raise NumberError("contains a power; write the number in digits")
        return Token(Kind.SUFFIX, match[0]), match.end()
    if match := WORD.match(text, position):
        return _word(match[0], before), match.end()
    for kind, pattern in ((Kind.SUFFIX, PERCENT), (Kind.CURRENCY, CURRENCY), (Kind.STOP, STOP)):
        if match := pattern.match(text, position):
            return Token(kind, match[0]), match.end()
    return _character(text, position, before), position + 1


def _character(text: str, position: int, before: Token | None) -> Token:
    character = text[position]
    if character in SIMPLE:
        return Token(SIMPLE[character], character)
    if character in "+-":
        return Token(Kind.SIGN, character, Fraction(1 if character == "+" else -1))
    if character == "!" and before is not None and before.kind is Kind.WORD:
        return Token(Kind.STOP, character)
    command = re.compile(r"\\[A-Za-z]+").match(text, position)
    raise NumberError(f"{command[0][:20] if command else character!r} is not understood")


def _word(word: str, before: Token | None) -> Token:
    if any(not c.isascii() and c != "’" and "LATIN" not in unicodedata.name(c, "") for c in word):
        raise NumberError(f"{word[:20]!r} is not in Latin script")
    if any(unicodedata.normalize("NFKC", c) != c for c in word):
        raise NumberError(f"{word[:20]!r} contains characters that only look like letters")
    if word in ("C", "F") and before is not None and before.text == "°":
        return Token(Kind.SUFFIX, word)
    if word.lower() in NEGATIVE | POSITIVE:
        return Token(Kind.SIGN, word, Fraction(-1 if word.lower() in NEGATIVE else 1))
    return Token(Kind.WORD, word)


def _fraction(match: re.Match[str]) -> Fraction:
    over, under = (int(re.sub(r"[^0-9-]", "", part)) for part in match.groups() if part is not None)
    return divided(Fraction(over), Fraction(under))

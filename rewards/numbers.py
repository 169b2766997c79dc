"""Parses a single number in common notations: `-$1,234.50`, `3/4`, `2 1/2`, `1e3`, `50%`, `negative 5`, `18 eggs.`

Every part of the text is either understood (a number, a sign, a unit, a harmless word) or the text is rejected, so
that nothing that changes the value is passed over: `3M`, `5!`, `half of 18`. Of an equation, only the right side is
read; the left side must be an expression of numbers, words, or a single variable.

    number   = sign* amount units
    amount   = integer | decimal | fraction | integer fraction
    fraction = integer "/" sign? integer | \\frac{sign? integer}{sign? integer}
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from rewards.number_tokens import Kind, NumberError, Token, divided, tokens_of, unmarked
from rewards.number_words import BEFORE_SIGN, LEADS, NEGATIONS, PHRASES, UNITS, refusal
from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 200

COMPARISON = re.compile(
    r"[<>≠≤≥≈~∼≃≅±∓?]|!=|\\(?:n?eq|ne|not|[lg]eq?|[lg]eqslant|[lg]t|approx|sim|simeq|pm|mp)(?![a-z])"
)
# The letters a, A and I may be words, unless they are beside a digit or a sign.
VARIABLE = re.compile(
    r"(?<![A-Za-z\\'’.])[B-HJ-Zb-z](?![A-Za-z'’.])|[α-ωΑ-Ω]|(?<=[0-9])[aAI](?![A-Za-z'’.])"
    r"|(?<![A-Za-z\\'’.])[aAI](?= ?[-+*/^_])"
    r"|\\(?!text|math|boxed|left|right|[dtc]?frac|times|cdot|div)[a-z]{2,}"
)
# `x`, `f(x)`, `x_1`, `the value of x`
ALONE = re.compile(r"[A-Za-z'’,: ]*?(?:[A-Za-zα-ωΑ-Ω]|\\[a-z]+)(?:_\{?[A-Za-z0-9]{1,3}\}?|\([A-Za-z]\))? *")
ANOTHER = re.compile(r"[;\n]|\b(?:and|or)\b|[.,](?:\s|$)|\\\\", re.IGNORECASE)
TIMES = re.compile(r"(?<=[0-9)]) ?x ?(?=[0-9($])")
PARENTHESIS = re.compile(r"(?<!\\)[()]")


def read_number(text: str) -> Fraction:
    """Parse the only number in `text`, exactly. A percent sign counts as a unit: `50%` is 50.

    Raises:
        NumberError: there is no number, more than one, or a part that is not understood.
    """
    if len(text) > MAX_LENGTH:
        raise NumberError(f"longer than {MAX_LENGTH} characters")
    text = unmarked(text)
    if _unbalanced(text):
        raise NumberError("contains an unbalanced parenthesis")
    *left, right = text.split("=")
    if left:
        _check_left(left)
    tokens = tokens_of(right)
    start = next((i for i, token in enumerate(tokens) if token.kind is Kind.NUMBER), None)
    if start is None:
        raise NumberError(_refused_word(tokens) or "contains no number")
    value, end = _amount(tokens, start)
    sign, first = _sign(tokens, start)
    if any(token.kind is Kind.NUMBER for token in tokens[end:]):
        raise NumberError("contains more than one number")
    reason = (
        _refused_word(tokens[:first] + tokens[end:])
        or _refused_before(tokens[:first])
        or _refused_after(tokens[end:])
        or (PHRASES.search(right) and "contains a phrase that may change the value")
    )
    if reason:
        raise NumberError(reason)
    return sign * value


def check_number(answer: str | None, expected: Fraction) -> Verdict:
    """Check whether the answer is exactly the expected number."""
    if answer is None or not answer.strip():
        return NO_ANSWER
    try:
        value = read_number(answer)
    except NumberError as error:
        return Verdict(False, False, str(error))
    return CORRECT if value == expected else Verdict(False, True, f"is {value}, not {expected}")


def _check_left(parts: Sequence[str]) -> None:
    """Raise a NumberError unless the parts of an equation before the last `=` say what the number is."""
    if any(COMPARISON.search(part) for part in parts) or parts[-1].rstrip().endswith("!"):
        raise NumberError("contains a comparison")
    if any(ANOTHER.search(part) for part in parts[1:]):
        raise NumberError("contains more than one equation")
    if any(word in NEGATIONS or word.endswith("n't") for part in parts for word in _words(part)):
        raise NumberError("contains a word that may change the value")
    for part in parts:
        plain = re.sub(
            r"\\[()\[\]]|\\(?:text|mathrm|mathbf|left|right|boxed)(?![a-z])|[$`{}*]", "", TIMES.sub("*", part)
        ).strip()
        if VARIABLE.search(plain):
            if not ALONE.fullmatch(plain) or any(refusal(word) for word in _words(plain) if len(word) > 1):
                raise NumberError("the left side of the equation is not a single variable")
            continue
        changed = re.match(r"[-+]\S", plain) or any(refusal(word) for word in _words(plain) if len(word) > 2)
        if changed and not re.search("[0-9]", plain):
            raise NumberError("the left side of the equation may change the value")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:['’][a-z]+)?", text.lower().replace("’", "'"))


def _unbalanced(text: str) -> bool:
    depth = 0
    for parenthesis in PARENTHESIS.findall(text):
        depth += 1 if parenthesis == "(" else -1
        if depth < 0:
            return True
    return depth != 0


def _amount(tokens: Sequence[Token], start: int) -> tuple[Fraction, int]:
    """The unsigned value of the number at `start`, and the index of the token after it."""
    number = tokens[start]
    end = start + 1
    if number.whole and end < len(tokens) and tokens[end].kind is Kind.NUMBER:
        part, after = _amount(tokens, end)
        follows = tokens[end].command or (tokens[end].spaced and after > end + 1)
        if not follows or not 0 < part < 1:
            raise NumberError("contains more than one number")
        return number.value + part, after
    while end < len(tokens) and tokens[end].kind is Kind.CLOSE:
        end += 1
    if not (number.whole and end < len(tokens) and tokens[end].kind is Kind.SLASH):
        return number.value, start + 1
    below = end + 1
    while below < len(tokens) and tokens[below].kind in (Kind.OPEN, Kind.SIGN):
        below += 1
    signs = [token for token in tokens[end + 1 : below] if token.kind is Kind.SIGN]
    if below == len(tokens) or tokens[below].kind is not Kind.NUMBER:
        return number.value, start + 1  # a unit: `18/hour`
    if len(signs) > 1 or not tokens[below].whole:
        raise NumberError("contains an ambiguous fraction")
    value = divided(number.value, tokens[below].value)
    return (signs[0].value if signs else 1) * value, below + 1


def _sign(tokens: Sequence[Token], start: int) -> tuple[Fraction, int]:
    """The sign of the number at `start`, and the index of the first token that belongs to it.

    Raises:
        NumberError: a sign is ambiguous, or the word before the number is not known to announce one.
    """
    sign, first, signed = Fraction(1), start, False
    while first > 0:
        token, follower = tokens[first - 1], tokens[first]
        if token.kind is Kind.SIGN:
            if follower.kind is Kind.SIGN:
                raise NumberError("contains two signs")
            if token.text in "+-" and follower.spaced and first > 1:
                raise NumberError("a sign separated from its number is ambiguous")
            sign, signed = sign * token.value, True
        elif token.kind not in (Kind.OPEN, Kind.CURRENCY):
            break
        first -= 1
    if first == 0 or tokens[first - 1].kind is Kind.STOP:
        return sign, first
    word = tokens[first - 1].text
    known = tokens[first - 1].kind is Kind.WORD and word.lower().replace("’", "'") in (BEFORE_SIGN if signed else LEADS)
    if not known or (tokens[first].text in "+-" and not tokens[first].spaced):
        raise NumberError(refusal(word) or f"{word[:20]!r} before the number is not understood")
    return sign, first


def _refused_word(tokens: Sequence[Token]) -> str | None:
    """Why a word among the tokens may change the value; None if all are harmless."""
    for index, token in enumerate(tokens):
        before, after = tokens[index - 1] if index else None, tokens[index + 1] if index + 1 < len(tokens) else None
        if token.kind is not Kind.WORD or token.text in ("p.m.", "a.m.", "P.M.", "A.M.", "U.S."):
            continue
        if token.text.lower() in ("squared", "cubed") and before is not None and before.text.lower() in UNITS:
            continue
        if index == 0 and after is not None and len(token.text) == 1 and after.text.lower() in ("is", "equals"):
            continue  # `x is 18`
        reason = refusal(token.text)
        if reason is not None:
            return reason
    return None


def _refused_before(tokens: Sequence[Token]) -> str | None:
    """Why the signs before the number are not understood; None if there are only hyphens and dashes between words."""
    for index, token in enumerate(tokens):
        if token.text.lower() == "positive":
            continue
        between = 0 < index < len(tokens) - 1 and tokens[index - 1].kind is tokens[index + 1].kind is Kind.WORD
        if token.kind in (Kind.SIGN, Kind.SLASH) and not between:
            return f"{token.text!r} before the number is not understood"
        if token.kind is Kind.SIGN and token.text not in "-":
            return f"{token.text!r} may change the value"
    return None


def _refused_after(tokens: Sequence[Token]) -> str | None:
    """Why what follows the number is not understood; None if it is a unit and words."""
    for index, token in enumerate(tokens):
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        word_follows = after is not None and after.kind in (Kind.WORD, Kind.OPEN)
        if token.kind is Kind.SLASH and not word_follows:
            return "ends with an incomplete fraction"
        if token.kind is Kind.SIGN and token.text.lower() != "positive":
            glued = word_follows and after is not None and not token.spaced and not after.spaced
            between = word_follows and index > 0 and tokens[index - 1].kind is Kind.WORD
            if token.text != "-" or not (glued or between):
                return f"{token.text!r} after the number is not understood"
        times = token.text.lower() == "times" and after is not None and after.kind is Kind.WORD
        if times and after is not None and after.text.lower() not in ("a", "per", "each", "every", "as", "more"):
            return "'times' may change the value"
    return None

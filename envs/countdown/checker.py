"""Checks whether an answer is an expression over exactly the given numbers that equals the target."""

from collections import Counter
from collections.abc import Sequence

from rewards.expression import MAX_LENGTH, ExpressionError, parse
from rewards.verdict import CORRECT, NO_ANSWER, Verdict


def check(answer: str | None, numbers: Sequence[int], target: int) -> Verdict:
    """Check an answer exactly, over fractions. `(1 + 2) * 3` and `(1 + 2) * 3 = 9` are both accepted, the second
    form only if the text after the equals sign is the target."""
    if answer is None or not answer.strip():
        return NO_ANSWER
    if len(answer) > 2 * MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    text, sign, claimed = answer.partition("=")
    if sign and claimed.strip() != str(target):
        return Verdict(False, False, f"the text after '=' is not {target}")
    try:
        expression = parse(text)
    except ExpressionError as error:
        return Verdict(False, False, str(error))
    if Counter(expression.numbers) != Counter(numbers):
        used = ", ".join(map(str, expression.numbers))
        return Verdict(False, True, f"uses {used} instead of {', '.join(map(str, numbers))}, each once")
    if expression.value is None:
        return Verdict(False, True, "divides by zero")
    if expression.value != target:
        return Verdict(False, True, f"equals {expression.value}, not {target}")
    return CORRECT

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.expression import ExpressionError, parse


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("1 + 2 * 3", 7, (1, 2, 3)),
        ("(1 + 2) * 3", 9, (1, 2, 3)),
        ("8 - 3 - 2", 3, (8, 3, 2)),
        ("8 / 4 / 2", 1, (8, 4, 2)),
        ("1 / 3 * 6", 2, (1, 3, 6)),
        ("-(3 - 5)", 2, (3, 5)),
        ("  7\n", 7, (7,)),
        ("2 × 6 ÷ 3 − 1", 3, (2, 6, 3, 1)),
    ],
)
def test_values_by_hand(text, value, numbers):
    expression = parse(text)
    assert expression.value == value and expression.numbers == numbers


def test_values_are_exact_fractions():
    assert parse("1 / 3").value == Fraction(1, 3)


def test_a_division_by_zero_has_the_value_none():
    assert parse("1 / (2 - 2) + 5").value is None


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "9**9**9", "7//2", "2.5*4", "1 2", "(1", "1)", "()", "__import__('os')", "1_000", "٣ + 1", "1e9", "²"],
)
def test_other_text_is_rejected(text):
    with pytest.raises(ExpressionError):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 100 + "1" + ")" * 100, "-" * 100 + "1", "1" * 10, "1+" * 1000 + "1"])
def test_depth_digits_and_length_are_limited(text):
    with pytest.raises(ExpressionError):
        parse(text)


@st.composite
def expressions(draw, depth=3):
    """(text, value) pairs built bottom-up, with Python's fractions as the oracle."""
    if depth == 0 or draw(st.booleans()):
        number = draw(st.integers(0, 999))
        return str(number), Fraction(number)
    (left, a), (right, b) = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    op = draw(st.sampled_from("+-*/"))
    if a is None or b is None or (op == "/" and b == 0):
        value = None
    else:
        value = {"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a / b
    return f"({left} {op} {right})", value


@given(expressions())
def test_random_expressions_have_the_value_of_the_oracle(built):
    text, value = built
    assert parse(text).value == value


@given(st.text(alphabet="0123456789+-*/() .=", max_size=60))
def test_any_text_parses_or_raises_an_expression_error(text):
    try:
        parse(text)
    except ExpressionError as error:
        assert str(error)

from fractions import Fraction

import pytest

from rewards.numbers import NumberError, check_number, read_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("-5", -5),
        ("− 5", -5),
        ("+7", 7),
        ("$1,234.50", Fraction(2469, 2)),
        ("-$5", -5),
        ("$-5", -5),
        ("1,000", 1000),
        ("18.", 18),
        ("18.0", 18),
        (".5", Fraction(1, 2)),
        ("50%", 50),
        (r"50\%", 50),
        ("3/4", Fraction(3, 4)),
        ("2 1/2", Fraction(5, 2)),
        ("1e3", 1000),
        ("1.5E-2", Fraction(3, 200)),
        (r"\boxed{18}", 18),
        (r"$\boxed{1{,}000}$", 1000),
        (r"-\frac{1}{2}", Fraction(-1, 2)),
        (r"18\text{ cm}", 18),
        ("18 eggs per day.", 18),
        ("18/hour", 18),
        ("The answer is **18**.", 18),
        ("9 * $2 = $18", 18),
        ("x = -3", -3),
        ("007", 7),
    ],
)
def test_numbers_are_read_in_common_notations(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "1 or 2",
        "10-20",
        "1,00",
        "1,0000",
        "1.2.3",
        "12:30",
        "10^3",
        "3/4/5",
        "1/0",
        "x-5",
        "18-",
        "18+",
        "1 000",
    ]
    + [
        "Answer - 5",
        "x + -5",
        "2 million",
        "half",
        "１８",
        "1\u200b8",
        "½",
        "9" * 201,
        "1e9999",
        "0x12",
        "0,125",
        "000,500",
        "2a = 10",
        "a^2 = 16",
        "2θ = 60",
        "α + 30 = 90",
        "3/4.5",
        "5 = ",
    ],
)
def test_text_that_is_not_a_single_number_is_rejected(text):
    with pytest.raises(NumberError):
        read_number(text)


def test_the_verdict_gives_the_reason():
    assert check_number("18", Fraction(18)).correct
    assert check_number("17", Fraction(18)).reason == "is 17, not 18"
    assert check_number(None, Fraction(18)).reason == "no answer"
    unread = check_number("17 or 18", Fraction(18))
    assert not unread.well_formed and unread.reason == "contains more than one number"


def test_a_number_that_contains_the_answer_is_wrong():
    assert not check_number("112", Fraction(12)).correct


def test_percent_is_a_unit_rather_than_a_division():
    assert check_number("50%", Fraction(50)).correct and not check_number("50%", Fraction(1, 2)).correct

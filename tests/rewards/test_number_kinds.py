from fractions import Fraction

import pytest

from rewards.numbers import NumberError, read_number

READ = [
    # Signs.
    ("–12", -12), ("—12", -12), ("‑12", -12), ("－12", -12), ("⁻12", -12), ("negative 12", -12), ("Negative $12", -12),
    ("minus 12", -12), ("The answer is minus 12.", -12), ("-(12)", -12), ("-(-12)", 12), ("(-12)", -12), ("(12)", 12),
    ("-**12**", -12), ("**-**12", -12), ("-$12$", -12), (r"-\text{12}", -12), (r"-\boxed{12}", -12), ("+ 12", 12),
    (r"\text{minus }12", -12), ("positive 12", 12), ("x = –12", -12), ("x = -(12)", -12), (r"-\$12", -12),
    # Fractions and mixed numbers.
    (r"3\frac{1}{2}", Fraction(7, 2)), (r"-3\frac12", Fraction(-7, 2)), (r"3 \tfrac{1}{2} hours", Fraction(7, 2)),
    (r"\frac12", Fraction(1, 2)), (r"\frac1{2}", Fraction(1, 2)), (r"\frac{36}{-2}", -18),
    (r"-\frac{-1}{2}", Fraction(1, 2)),
    ("36/-2", -18), ("(36)/(-2)", -18), ("2 1/2 cups", Fraction(5, 2)), (r"\dfrac{1{,}000}{3}", Fraction(1000, 3)),
    # Units.
    (r"18\text{ cm}^2", 18), ("18 cm^2", 18), ("18 cm²", 18), ("18 m^{3}", 18), ("9.8 m/s^2", Fraction(49, 5)),
    (r"9 \text{ m/s}^2", 9), ("18 m2", 18), ("18 kg of CO2", 18), ("18 square meters", 18), ("18 meters squared", 18),
    ("90°", 90), (r"90^\circ", 90), (r"90^{\circ}", 90), ("90 degrees", 90), ("20 °C", 20), (r"20^\circ\text{C}", 20),
    ("18 km/h", 18), ("5 p.m.", 5), ("18~cm", 18), (r"18\,\mathrm{kg}", 18), ("3 times a week", 3), ("US$18", 18),
    # Words and markup around the number.
    ("Natalia sold 72 clips in April and May.", 72), ("She needs 5 more", 5), ("`18`", 18), ("*18*", 18),
    ("__18__", 18),
    ("#### 18", 18), ("**Answer:** 18", 18), ('"18"', 18), ("Total cost = 5 * 3 = 15", 15), ("x is 18", 18),
    ("2 + 3 = 5 apples", 5),
    ("0.2 x 50 = $10", 10), (r"\(18\)", 18), (r"\[ 18 \]", 18), ("f(x) = 18", 18), ("x_1 = 18", 18),
]  # fmt: skip

REFUSED = [
    # Signs that are no single sign.
    r"\pm 12", "±12", "--12", "- -12", "+-12", "negative -12", "12 negative", "Answer – 12", "cost-12", "12-", "(12",
    "12)", "−, 12", "not -12", r"\mp 12", "∓ 12", "-x = 12", "-cost = 12",
    # Operations.
    r"\sqrt{16}", "√16", "16²", "16^2", "16^{2}", "5!", "5 !", "**5**!", r"**\frac{5}{2**", r"\frac**5**{2}",
    "5 squared", "5 cubed", "5 factorial",
    "|-5|",
    "⌊5⌋", "2**3", "5%2", "log 100", "sin(30)", "f(5)", "3(1/2)", "(1)(2)", r"5\times 3", "5·3", "5×3", "2^5",
    r"2\cdot 3",
    r"0.\overline{3}", "0.333...", "0.333…", "52_8", "52_{8}", "12 mod", "5#", "the square root of 16", "square of 4",
    # Constants and variables.
    r"12\pi", "12π", "12 pi", "12e", "12i", "12x", "12 n", r"\infty", "2x = 12", "x + 5 = 12", "x^2 = 16", "|x| = 4",
    "x/2 = 12", r"2\theta = 12", "half of x = 12",
    # Magnitudes.
    "3M", "3 M", "3K", "3k", "3 bn", "3B", "3T", "3 million", "3 mil", "3 thousand", "3 dozen", "3 lakh", "3 crore",
    "$3MM", "3 grand", "3 Millionen", "3 hundred",
    # Comparisons.
    "> 12", "≥ 12", r"\geq 12", "< 12", "x <= 12", "x != 12", r"x \neq 12", "≈ 12", "~12", "about 12", "at least 12",
    "at most 12", "more than 12", "less than 12", "up to 12", "12 or more", "12+", "over 12", "nearly 12",
    "approx. 12",
    # Words.
    "not 18", "isn't 18", "The answer is not 18", "half of 18", "twice 18", "double 18", "18 and a half", "never 18",
    "18 halves", "one 18", "moins 12", "nicht 12", "负12", "18万", "anything but 18", "either 18", "3 times his age",
    "x = 18 or x = 2", "It is not true that x = 18", "18 more than Tom", "18 thirds", "18 and one",
    # Glued text.
    r"1{}2", r"1\text{}2", "1$2", "1**2**", r"\text{1}2", r"3\frac{5}{2}", "3 5/2", r"3\frac{1}{2}\frac{1}{2}",
    "1, 2",
    r"\frac{1}{0}", r"\frac{x}{2}", r"\frac{1}{2}{3}", r"1\frac{-1}{2}", "eggs18", "1st", "0b11", "1 000",
    "1\u00a0000",
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ)
def test_a_number_is_read_with_its_sign_and_unit(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize("text", REFUSED)
def test_text_that_may_mean_another_number_is_refused(text):
    with pytest.raises(NumberError):
        read_number(text)

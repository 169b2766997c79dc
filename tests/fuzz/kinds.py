"""Answers of the kinds that public bug reports name, whose correct verdict follows from their construction."""

import random
from fractions import Fraction

MINUS = [*"-–—−‑－⁻", "negative ", "minus ", "Negative ", "The answer is minus ", "x = -", "It is -"]
UNITS = [
    *["\\text{ cm}^2", " cm^2", " m²", "^\\circ", "°", " degrees", " km/h", " m/s^2", " eggs", "\\,\\mathrm{kg}"],
    *[" square meters", "%", " percent", " p.m.", " kg of CO2", "~cm", "", ".", " apples each day."],
]
WRAPS = [
    "{}",
    "**{}**",
    "`{}`",
    "${}$",
    "\\boxed{{{}}}",
    "\\({}\\)",
    "The answer is {}",
    "Answer: {}",
    '"{}"',
    "#### {}",
]
# What changes the value of a positive number, or leaves it open.
OPENERS = [
    "\\sqrt{{{}}}",
    "√{}",
    "|{}|",
    "⌊{}⌋",
    "±{}",
    "$\\pm {}$",
    "half of {}",
    "twice {}",
    "about {}",
    "at least {}",
]
OPENERS += ["more than {}", "up to {}", ">{}", "\\leq {}", "not {}", "isn't {}", "log {}", "square root of {}", "~{}"]
OPENERS += ["--{}", "+-{}", "2x = {}", "-x = {}", "x^2 = {}", "x != {}", "f({})", "moins {}", "the reciprocal of {}"]
CLOSERS = ["{}!", "{}M", "{}K", "{} k", "{} bn", "{} million", "{} dozen", "{}\\pi", "{}π", "{} pi", "{}x", "{}i"]
CLOSERS += ["{} squared", "{} cubed", "{}^2", "{}²", "{}+", "{}-", "{} or more", "{} and a half", "{}_8", "{}_{{9}}"]
CLOSERS += ["{}...", "{} factorial", "{} mod", "{} negative", "{}**2", "{}#", "{} halves", "{}\\times 10^3", "{}万"]


def number_kind(value: Fraction, rng: random.Random) -> tuple[str, bool]:
    """An answer to a problem whose answer is `value`, and whether it is correct."""
    kind = rng.random()
    if kind < 0.3:
        written = rng.choice([*OPENERS, *CLOSERS]).format(_plain(abs(value), rng))
        return rng.choice(WRAPS).format(written), False
    right = rng.random() < 0.6
    meant = value if right else rng.choice([-value, value + 1, value / 2, 10 * value])
    right = meant == value
    if kind < 0.6 and meant < 0:
        sign, plain = rng.choice(MINUS), _plain(-meant, rng)
        wrapped = sign + rng.choice(["{}", "({})", "**{}**", "\\text{{{}}}", "${}$"]).format(plain)
        return wrapped + rng.choice(UNITS), right
    return rng.choice(WRAPS).format(_plain(meant, rng) + rng.choice(UNITS)), right


def _plain(value: Fraction, rng: random.Random) -> str:
    sign, top, under = "-" if value < 0 else "", abs(value.numerator), value.denominator
    if under == 1:
        forms = [f"{top}", f"{top:,}", f"{top}.0", f"\\frac{{{2 * top}}}{{2}}", f"{top:,}".replace(",", "{,}")]
        return sign + rng.choice(forms)
    whole, rest = divmod(top, under)
    forms = [f"{top}/{under}", f"\\frac{{{top}}}{{{under}}}", f"\\dfrac{{{top}}}{{{under}}}"]
    if whole:
        forms += [f"{whole} {rest}/{under}", f"{whole}\\frac{{{rest}}}{{{under}}}", f"{whole} \\frac{rest}{under}"]
    if top < 10:
        forms.append(f"\\frac{top}{under}")
    return sign + rng.choice(forms)


def latex_kind(rng: random.Random) -> tuple[str, str, bool]:
    """An answer in LaTeX, a reference answer, and whether they are equal. Exact rationals are the oracle."""
    a, b, power = rng.randint(2, 99), rng.randint(2, 99), rng.randint(20, 120)
    forms = [
        (f"\\frac{{{a}}}{{{b}}}", f"\\frac{{{a + 1}}}{{{b}}}"),
        (f"{a}\\sqrt{{{4 * b + 1}}}", f"{a + 1}\\sqrt{{{4 * b + 1}}}"),
        (f"{a}\\pi", f"{b + 100}\\pi"),
        (f"\\frac{{1}}{{2^{{{power}}}}}", f"\\frac{{1}}{{2^{{{power + 1}}}}}"),
        (f"{10**power}", f"{10**power + 1}"),
        (f"0.{'0' * (power % 20)}{a}", f"0.{'0' * (power % 20)}{a}1"),
        (f"{a}{b % 8}_9", f"{a}{b % 8}_8"),
        (f"({a}, {b})", f"({b + 100}, {a})"),
        (f"[{a}, {a + b})", f"[{a}, {a + b}]"),
        (f"{a % 12 + 1}:{b % 50 + 10}", f"{a % 12 + 1}:{b % 50 + 11}"),
        (f"\\text{{option {a}}}", f"\\text{{option {b + 100}}}"),
    ]
    gold, other = rng.choice(forms)
    kind = rng.random()
    wraps = ["{}", "${}$", "${}$.", "**{}**", "The answer is ${}$", "`{}`", "{}.", "\\boxed{{{}}}", "\\({}\\)"]
    if kind < 0.5:
        return rng.choice(wraps).format(gold), gold, True
    if kind < 0.85:
        return rng.choice(wraps).format(other), gold, False
    return rng.choice(["not ${}$", "-\\boxed{{{}}}", "half of ${}$", "at least ${}$"]).format(gold), gold, False

"""Completions that an honest or a hostile model could write, with labels of their answers.

`countdown` and `number` return an answer with a label: True for a correct answer in an unusual notation, False for
a wrong answer, None if only an oracle can tell.
"""

import random
from collections.abc import Callable
from fractions import Fraction

TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<answer", "</ANSWER>", "<answer>\n", "＜answer＞"]
ODD = [
    "\u200b",
    "\u200d",
    "\u202e",
    "\ufeff",
    "\u00a0",
    "\u2009",
    "\x00",
    "\x1b[2J",
    "\ud7ff",
    "💥",
    "½",
    "٣",
    "１",
    "²",
]
CODE = ["9**9**9", "2//1", "1_0", "0x10", "1e9", "__import__('os')", "9.0", "5%3", "5^2", "√4", "(4", "4)", "*", "()"]
LARGE = 1_000_000
Labelled = tuple[str, bool | None]


def dressed(answer: str, rng: random.Random) -> str:
    """A completion that ends with the answer, with tags that may be malformed in many ways."""
    pair = f"<answer>{answer}</answer>"
    forms: list[Callable[[], str]] = [
        lambda: f"so </think> {pair}",
        lambda: f"so </think>\n{pair}\n",
        lambda: f"so </think><answer>\n\n{answer}\n\n</answer>{rng.choice(ODD)}",
        lambda: f"<answer>1</answer> no </think>{pair}",
        lambda: f"so </think>{pair}<answer>{rng.randint(0, 99)}</answer>",
        lambda: f"so </think>{pair}<answer>unfinished",
        lambda: f"</answer></think>{pair}</answer>",
        lambda: f"so </think><answer>{pair}",
        lambda: f"{pair}</think>",
        lambda: answer,
        lambda: "".join(rng.choice([*TAGS, answer]) for _ in range(rng.randint(1, 12))),
        lambda: f"<think>{pair}",
    ]
    weights = [12, 4, 2, *[1] * (len(forms) - 3)]
    return rng.choices(forms, weights)[0]()


def megabyte(answer: str, rng: random.Random) -> str:
    """A million characters around the answer."""
    filler = rng.choice(["<answer>", "</answer>", "<think></think>", "a ", "1+", "(", "中", "= ", "\n", "a b c d "])
    bulk = filler * (LARGE // len(filler))
    return rng.choice(
        [
            f"{bulk}</think><answer>{answer}</answer>",
            f"x</think><answer>{answer}</answer>{bulk}",
            f"<answer>{bulk}</answer>",
        ]
    )


def countdown(solution: str, numbers: list[int], target: int, rng: random.Random) -> Labelled:
    """An answer to a countdown problem, derived from one of its solutions."""
    spaced = solution.replace(" ", rng.choice(["", " ", "  ", "\n", "\t", "\u00a0"]))
    right: list[Callable[[], str]] = [
        lambda: spaced,
        lambda: f"{solution} = {target}",
        lambda: f"({solution})",
        lambda: solution.replace("*", "×").replace("/", "÷").replace("-", "−"),
        lambda: "(" * 12 + solution + ")" * 12,
        lambda: f"--({solution})",
    ]
    unknown: list[Callable[[], str]] = [
        lambda: mutated(solution, rng),
        lambda: mutated(mutated(solution, rng), rng),
        lambda: " ".join(rng.choice([*"+-*/()", *map(str, numbers)]) for _ in range(rng.randint(1, 9))),
        lambda: rng.choice(CODE).join([solution, solution][: rng.randint(1, 2)]) + rng.choice(["", *CODE]),
        lambda: random_expression(numbers, rng),
    ]
    wrong: list[Callable[[], str]] = [
        lambda: str(target),
        lambda: f"{solution} + 0",
        lambda: f"{solution} = {target + 1}",
        lambda: "(" * 2000 + solution + ")" * 2000,
        lambda: "-" * 500 + f"({solution})",
        lambda: solution.replace("*", "**") if "*" in solution else "",
        lambda: "".join(chr(0x0660 + int(c)) if c.isdigit() else c for c in solution),
        lambda: f"{solution}{rng.choice(['', '+'])}{'9' * 4000}",
        lambda: f"{solution}\u200b",
        lambda: rng.choice(CODE),
    ]
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(right)(), True
    return (rng.choice(unknown)(), None) if kind < 0.8 else (rng.choice(wrong)(), False)


def random_expression(numbers: list[int], rng: random.Random) -> str:
    """The numbers in some order with any operations and parentheses: often wrong, sometimes right."""
    values = [str(number) for number in rng.sample(numbers, len(numbers))]
    while len(values) > 1:
        position = rng.randrange(len(values) - 1)
        form = rng.choice(["({} {} {})", "{} {} {}"])
        values[position : position + 2] = [form.format(values[position], rng.choice("+-*/"), values[position + 1])]
    return values[0]


def mutated(text: str, rng: random.Random) -> str:
    """The text with one character changed, removed, doubled or inserted."""
    position = rng.randrange(len(text) + 1)
    put = rng.choice([*"0123456789+-*/()=. ,^_", *ODD, ""])
    return text[:position] + put + text[position + rng.randint(0, 1) :]


def number(value: Fraction, rng: random.Random) -> Labelled:
    """An answer to a problem whose answer is `value`."""
    plain = written(value, rng)
    right = [
        plain,
        f"{plain}.",
        f"${plain}",
        f"{plain}%",
        f"{plain} eggs per day.",
        f"\\boxed{{{plain}}}",
        f"$\\boxed{{{plain}}}$",
        f"x = {plain}",
        f"9 * 2 = {plain}",
        f"**{plain}**",
        f"{plain}\\text{{ cm}}",
        f"\n{plain}\n",
        plain.replace("-", "−"),
        plain.replace(",", "{,}"),
    ]
    gaps = [Fraction(-1), Fraction(1), Fraction(10), Fraction(1, 2), 2 * abs(value) + 1]
    other = written(value + rng.choice(gaps), rng)
    wrong = [
        other,
        f"{other} = {other}",
        f"{plain} or {other}",
        f"{plain} {other}",
        f"1\u200b{plain}",
        f"{plain}{plain}" if value != 0 else f"{plain}1",
        f"{plain}1",
        f"{plain} thousand",
        f"-{other}" if value >= 0 else other,
        "9" * 5000,
        "",
        "no number",
        f"{plain}^{rng.randint(2, 9)}",
        f"{plain}e{rng.randint(1, 999)}" if value != 0 else "1e5",
    ]
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(right), True
    if kind < 0.65:
        return rng.choice(wrong), False
    return mutated(rng.choice(right), rng), None


def written(value: Fraction, rng: random.Random) -> str:
    """An integer or a fraction in one of its notations."""
    sign, top = "-" if value < 0 else "", abs(value.numerator)
    if value.denominator != 1:
        return rng.choice([f"{sign}{top}/{value.denominator}", f"{sign}\\frac{{{top}}}{{{value.denominator}}}"])
    return sign + rng.choice([str(top), f"{top:,}", f"{top}.0", f"{top:,}.00", f"{top}e0", f"0{top}"])

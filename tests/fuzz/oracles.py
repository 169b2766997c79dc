"""Oracles: the correct verdict on a completion, computed independently of rewards/.

Tags are parsed by scanning all of them, expressions with Python's own parser and an allow-list of syntax nodes, and
numbers by considering every possible reading of the text. The size limits of rewards/ are part of the rules and
therefore repeated here.
"""

import ast
import re
from collections import Counter
from fractions import Fraction

DEEPEST = 30


def answer_of(text: str) -> str | None:
    """The innermost text of the last pair of answer tags."""
    opened, answer = None, None
    for tag in re.finditer("<answer>|</answer>", text):
        if tag[0] == "<answer>":
            opened = tag.end()
        elif opened is not None:
            answer, opened = text[opened : tag.start()], None
    return None if answer is None else answer.strip()


def in_format(text: str) -> bool:
    tags = re.findall("</?think>|</?answer>", text)
    thought = text.split("</think>", maxsplit=1)[0]
    return tags == ["</think>", "<answer>", "</answer>"] and bool(answer_of(text)) and bool(thought.strip())


def solves_countdown(answer: str | None, numbers: list[int], target: int) -> bool:
    """Whether the answer is a solution by Python's grammar, restricted to + - * / and signs over integers."""
    if answer is None or len(answer) > 600:
        return False
    left, sign, right = answer.partition("=")
    if sign and right.strip() != str(target):
        return False
    left = re.sub(r"\s", " ", left.strip())
    for typed, plain in (("×", "*"), ("÷", "/"), ("−", "-")):
        left = left.replace(typed, plain)
    if len(left) > 300 or not re.fullmatch(r"[0-9+\-*/() ]+", left) or too_deep(left):
        return False
    if any(len(digits) > 9 for digits in re.findall("[0-9]+", left)):
        return False
    try:
        tree = ast.parse(re.sub(r"(?<![0-9])0+(?=[0-9])", "", left), mode="eval")
        used: list[int] = []
        return walk(tree.body, used) == target and Counter(used) == Counter(numbers)
    except (SyntaxError, ArithmeticError, TypeError):
        return False


def walk(node: ast.expr, used: list[int]) -> Fraction:
    match node:
        case ast.Constant(value=int(value)):
            used.append(value)
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -walk(operand, used)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return walk(operand, used)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return walk(left, used) + walk(right, used)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return walk(left, used) - walk(right, used)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return walk(left, used) * walk(right, used)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return walk(left, used) / walk(right, used)
    raise TypeError(ast.dump(node))


def too_deep(text: str) -> bool:
    """Whether more parentheses are open at once, or more minus signs in a row, than an honest answer needs."""
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    runs = re.findall(r"[-+](?: *[-+])*", text)
    return deepest + max((len(run.replace(" ", "")) for run in runs), default=0) > DEEPEST


def could_mean(answer: str | None) -> set[Fraction]:
    """Every possible reading of the answer as a number: each run of number characters after the last `=`, with
    currency, percent and LaTeX signs removed."""
    if answer is None or len(answer) > 200:
        return set()
    text = re.sub(
        r"\\[dtc]?frac\s*(\{[^{}]*\}|[0-9])\s*(\{[^{}]*\}|[0-9])",
        plain_fraction,
        answer.replace("{,}", ","),
    )
    text = text.rpartition("=")[2].replace("−", "-")
    text = re.sub(r"\s", " ", re.sub(r"\\[,;! ]|[$€£¥₹%\\]", "", text))
    found: set[Fraction] = set()
    words = [word for word in re.split(r"[^0-9.,/eE+ -]+", text) if re.search("[0-9]", word)]
    for word in words:
        cluster = (
            re.sub(r"^([+-])\s+", r"\1", word.strip(" .,eE/")).rstrip(" .,eE+-/").replace(" /", "/").replace("/ ", "/")
        )
        signless = cluster.lstrip("+- ")
        sign = -1 if cluster.startswith("-") else 1
        parts = signless.split()
        for chosen in [signless, *parts, *(re.split("[eE]", signless))]:
            found |= {sign * value for value in as_fraction(chosen)} | as_fraction(chosen)
        if len(parts) == 2:
            found |= {sign * (a + b) for a in as_fraction(parts[0]) for b in as_fraction(parts[1])}
    return found


def plain_fraction(found: re.Match[str]) -> str:
    """A LaTeX fraction as `a/b` with its sign in front."""
    minus = "-" * ((found[1] + found[2]).count("-") % 2)
    return f" {minus}{found[1].strip('{}+- ')}/{found[2].strip('{}+- ')} "


def as_fraction(text: str) -> set[Fraction]:
    try:
        over, slash, under = text.replace(",", "").rstrip(".").partition("/")
        sign = -1 if under.strip().startswith("-") else 1
        return {sign * Fraction(over + slash + under.strip().lstrip("+-"))} if len(text) < 60 else set()
    except (ValueError, ZeroDivisionError):
        return set()

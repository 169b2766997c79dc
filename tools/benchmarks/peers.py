"""Compare our scoring with other projects' published rules: `python -m tools.benchmarks.peers`

The rules are implemented from their descriptions. Where a peer evaluates the model's text as Python, this file walks
the syntax tree instead, and a power that would take forever counts as a hang. Every disagreement is assigned a cause.
"""

import argparse
import ast
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction

from envs.countdown.task import Countdown
from envs.env import Env
from envs.grading import grade
from envs.multiplication.task import Multiplication
from grpo.types import Problem
from rewards.mix import RewardConfig
from tests.fuzz import hostile

CORRECT = RewardConfig({"correct": 1.0})
LARGEST_POWER = 1000
ALLOWED = re.compile(r"[\d+\-*/().\s]+")
TAG = re.compile(r"<answer>(.*?)</answer>")
TAG_ACROSS_LINES = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class HangsError(Exception):
    """Evaluating the text would take too long to return."""


def tinyzero(text: str, problem: Problem) -> bool:
    """Countdown: evaluates the last answer on the last line, whose digit sequences are the numbers."""
    found = TAG.findall(text.rpartition("\n")[2])
    return bool(found) and _evaluates(found[-1].strip(), problem)


def nano_aha_moment(text: str, problem: Problem) -> bool:
    """Countdown: evaluates the first answer that is on a single line; otherwise as TinyZero."""
    found = TAG.search(text)
    return found is not None and _evaluates(found[1].strip(), problem)


def reasoning_gym_countdown(text: str, problem: Problem) -> bool:
    """Countdown: evaluates the last answer like a computer algebra system; its integers must be the given numbers."""
    found = TAG_ACROSS_LINES.findall(text)
    if not found:
        return False
    value, used = python_value(found[-1].strip())
    return value == problem.fields["target"] and Counter(used) == Counter(problem.fields["numbers"])


def reasoning_gym_number(text: str, problem: Problem) -> bool:
    """Numbers: takes the first digit sequence of the last answer."""
    found = TAG_ACROSS_LINES.findall(text)
    digits = re.search(r"\d{1,4000}(?:\.\d{1,4000})?", found[-1]) if found else None
    return digits is not None and Fraction(digits[0]) == Fraction(problem.answer)


def _evaluates(answer: str, problem: Problem) -> bool:
    if not ALLOWED.fullmatch(answer):
        return False
    if sorted(map(int, re.findall(r"\d+", answer))) != sorted(problem.fields["numbers"]):
        return False
    value, _ = python_value(answer)
    return value is not None and abs(value - problem.fields["target"]) < Fraction(1, 100_000)


def python_value(text: str) -> tuple[Fraction | None, list[Fraction]]:
    """The value that Python would compute for an arithmetic expression (None if it would raise), and its numbers.

    Raises:
        HangsError: the expression has a power that is too large to compute.
    """
    used: list[Fraction] = []

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            used.append(Fraction(str(node.value)))
            return used[-1]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = walk(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](walk(node.left), walk(node.right))
        raise TypeError

    try:
        return walk(ast.parse(text, mode="eval").body), used
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        return None, used


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) > LARGEST_POWER:
        raise HangsError
    return Fraction(base**exponent)


OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}
RULES: Mapping[str, Mapping[str, Callable[[str, Problem], bool]]] = {
    "countdown": {
        "TinyZero": tinyzero,
        "nano-aha-moment": nano_aha_moment,
        "reasoning-gym countdown": reasoning_gym_countdown,
    },
    "multiplication": {"reasoning-gym gsm_symbolic": reasoning_gym_number},
}


# Causes, in the order in which they are tried: a pattern for the answer and the text after it, a part of the peer's
# name, and the cause.
ACCEPTANCES = [
    (r"-{30}", "", "AhaZero rejects more than 30 nested signs or parentheses"),
    (r"-", "symbolic", "the peer takes the first run of digits and drops the minus sign"),
    (r"", "symbolic", "the peer takes the first run of digits of a text that is not a single number"),
    (r"\*\*", "", "the peer accepts a power"),
    (r"//", "", "the peer accepts a floor division"),
    (r"\.", "", "the peer accepts digits joined into a decimal number"),
    (r"_", "", "the peer reads 7_8 as 78"),
]
REJECTIONS = [
    (r"=", "", "the peer rejects `solution = target`, or reads the first number of it"),
    (r"\n[^<]*</answer>|^<answer>\s*\n", "nano", "the peer requires the answer on one line"),
    (r"\n[^<]*</answer>|^<answer>\s*\n|</answer>[^\n]*\n", "TinyZero", "the peer reads only the last line"),
    (r"[×÷−]", "", "the peer does not support the signs × ÷ −"),
    (r",|\{,\}", "symbolic", "the peer stops at the thousands separator"),
    (r"[-+]", "symbolic", "the peer drops the sign"),
    (r"\d[eE]\d|/|frac", "symbolic", "the peer stops before the exponent or the fraction bar"),
    (r"(?<![0-9])0[0-9]", "", "the peer rejects a leading zero"),
    (r"[^\x00-\x7f]|\s", "", "the peer does not support unusual white space"),
]


def cause(text: str, peer: bool | None, name: str) -> str:
    """The cause of a disagreement on a completion; "?" if no cause applies."""
    found = TAG_ACROSS_LINES.findall(text)
    if peer is None:
        return "the peer hangs on a power"
    if len(found) != text.count("<answer>") or len(found) > 1:
        return "several answers or unpaired tags: AhaZero takes the last complete pair"
    ending = text[text.rfind("<answer>") :]
    for pattern, named, reason in ACCEPTANCES if peer else REJECTIONS:
        if named in name and re.search(pattern, ending):
            return reason
    return "?"


def compare(completions: int, seed: int) -> dict[str, Counter[str]]:
    """For each peer, count agreements and disagreements by cause."""
    tasks: list[Env] = [Countdown(), Multiplication(["2x1", "2x2", "3x3"])]
    rng = random.Random(f"peers/{seed}")
    counts: dict[str, Counter[str]] = {name: Counter() for rules in RULES.values() for name in rules}
    for index in range(completions):
        task = tasks[index % 2]
        problem = task.problem(seed, "train", index)
        if task.name == "countdown":
            answer, _ = hostile.countdown(problem.answer, problem.fields["numbers"], problem.fields["target"], rng)
        else:
            answer, _ = hostile.number(Fraction(problem.answer), rng)
        text = hostile.dressed(answer, rng)
        ours = grade(task, CORRECT, problem, text, None).correct
        for name, rule in RULES[task.name].items():
            try:
                peer: bool | None = rule(text, problem)
            except HangsError:
                peer = None
            counts[name]["agrees" if peer == ours else cause(text, peer, name)] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--completions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, counts in compare(args.completions, args.seed).items():
        total = counts.total()
        print(f"{name}: agrees on {counts['agrees']:,} of {total:,} ({100 * counts['agrees'] / total:.1f}%)")
        for reason, count in counts.most_common():
            if reason != "agrees":
                print(f"  {count:5,}  {reason}")


if __name__ == "__main__":
    main()

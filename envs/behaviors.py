"""Which of the four behaviours of arXiv 2503.01307 a completion shows, by exact rules where the task allows.

The paper asks a language model; here countdown and multiplication are read equation by equation, and
words add to that what free text says. docs/aha.md has the rules in one table. Only the thought counts:
what stands before </think>.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from envs.countdown.search import read_search
from envs.equations import Equation, Value, end_of_thought, read_equations
from envs.multiplication.trace import places, read_trace
from envs.words import Words, read_words

BEHAVIORS = ("verification", "backtracking", "subgoals", "backward_chaining")
SHOWN = (*BEHAVIORS, "keywords", "waits")


@dataclass(frozen=True)
class Behaviors:
    """What one completion shows.

    keywords, waits  a word of the keyword list of envs/words.py; "wait"
    tries            countdown: tries; multiplication: lines that calculate; else 0
    equations        all equations, and how many of them are true
    copied           tries that use the given numbers, each once; multiplication: lines that do a part
                     that was still to be done
    verdicts_yes     tries that are called a hit, and `decorative`: how many of those are none
    """

    verification: bool = False
    backtracking: bool = False
    subgoals: bool = False
    backward_chaining: bool = False
    keywords: bool = False
    waits: bool = False
    tries: int = 0
    equations: int = 0
    true_equations: int = 0
    copied: int = 0
    decorative: int = 0
    verdicts_yes: int = 0

    @property
    def reflects(self) -> bool:
        """It looks at what it did (verification), or gives it up for something else (backtracking)."""
        return self.verification or self.backtracking


def read_behaviors(problem_env: str, fields: Mapping[str, Any], text: str) -> Behaviors:
    """The behaviours of a completion to a problem with these fields of the task `problem_env`."""
    thought = text[: end_of_thought(text)]
    words = read_words(thought)
    if problem_env == "countdown" and "numbers" in fields and "target" in fields:
        return _in_countdown(thought, words, fields["numbers"], fields["target"])
    if problem_env == "multiplication" and "a" in fields and "b" in fields:
        return _in_multiplication(thought, words, abs(fields["a"]), abs(fields["b"]))
    equations = read_equations(thought)
    return Behaviors(
        verification=words.verification or words.announce([equation.start for equation in equations]),
        backtracking=words.backtracking,
        subgoals=words.subgoals,
        backward_chaining=words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        equations=len(equations),
        true_equations=sum(equation.is_true for equation in equations),
    )


def behaviors_shown(problem_env: str, fields: Mapping[str, Any], text: str) -> list[str]:
    """The names in SHOWN of what a completion shows."""
    read = read_behaviors(problem_env, fields, text)
    return [name for name in SHOWN if getattr(read, name)]


def _in_countdown(thought: str, words: Words, numbers: Sequence[int], target: int) -> Behaviors:
    """The rules for countdown.

    verification       a value is compared with the target right after it was made: the tiny model's
                       low, high, yes, or words like "too small", "not equal to 98", "this works"; or
                       a word of checking stands right before an equation
    backtracking       a try that is no hit is followed by one that does something else; or words
    subgoals           a try uses, in a later equation, a value that it made; or "first ... get ..."
    backward_chaining  a true equation starts from the target, which is no given number, takes given
                       numbers off it (`35 - 17 = 18`), and what it leaves is made from exactly the
                       other numbers after it, or is the one that is left; or it takes off what a try
                       has made, and leaves the number that the try still has; or words
    """
    search = read_search(thought, numbers, target)
    attempts = search.attempts
    hits = [attempt.hits(target) for attempt in attempts]
    missed = [not hit and not attempt.met for hit, attempt in zip(hits, attempts)]
    gave_up = any(miss and now.steps != after.steps for miss, (now, after) in zip(missed, pairwise(attempts)))
    said_yes = [attempt.called == "yes" for attempt in attempts]
    return Behaviors(
        verification=any(attempt.verdicts for attempt in attempts)
        or words.announce([equation.start for equation in search.equations]),
        backtracking=gave_up or words.backtracking,
        subgoals=any(attempt.subgoal for attempt in attempts) or words.subgoals,
        backward_chaining=search.worked_back or words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        tries=len(attempts),
        equations=len(search.equations),
        true_equations=sum(equation.is_true for equation in search.equations),
        copied=sum(attempt.copied for attempt in attempts),
        decorative=sum(yes and not hit for yes, hit in zip(said_yes, hits)),
        verdicts_yes=sum(said_yes),
    )


def _in_multiplication(thought: str, words: Words, a: int, b: int) -> Behaviors:
    """The rules for a * b. A part is a product of places of a and of b that is not all of both: of
    47 * 38, `40 * 30`, `47 * 8`, `38 * 7`.

    verification       a product is calculated again with the same value (70 * 8 and 8 * 70 are two parts
                       of 78 * 78, and no check); or the total is reached a second way: by another sum or
                       product, other than the plain a * b, or undone by a division that gives a or b;
                       or a word of checking stands right before an equation
    backtracking       the same product or sum is calculated again with another value; or words
    subgoals           the value of a part goes into a later sum or difference; or "first ... get ..."
    backward_chaining  words alone
    """
    equations = [equation for equation in read_equations(thought) if not equation.restates]
    steps = read_trace(thought, a, b).steps
    agreed, changed = _done_again(equations, a, b)
    return Behaviors(
        verification=agreed
        or _reached_twice(equations, a, b)
        or words.announce([equation.start for equation in equations]),
        backtracking=changed or words.backtracking,
        subgoals=_sums_parts(equations, a, b) or words.subgoals,
        backward_chaining=words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        tries=len(steps),
        equations=len(equations),
        true_equations=sum(equation.is_true for equation in equations),
        copied=sum(step.copied for step in steps),
    )


def _what(equation: Equation) -> tuple[tuple[int, ...], str]:
    """What an equation calculates: operands in any order where order does not matter."""
    in_order = equation.signs.strip("+") and equation.signs.strip("*")
    return (equation.numbers if in_order else tuple(sorted(equation.numbers))), equation.signs


def _done_again(equations: Sequence[Equation], a: int, b: int) -> tuple[bool, bool]:
    """Was a product done again with the same value; was anything done again with another value?"""
    seen: dict[tuple[tuple[int, ...], str], Value] = {}
    agreed_times: Counter[tuple[int, ...]] = Counter()
    agreed = changed = False
    for equation in equations:
        what = _what(equation)
        changed |= seen.get(what, equation.value) != equation.value
        if equation.signs == "*" and seen.get(what) == equation.value:
            agreed_times[what[0]] += 1
            agreed |= agreed_times[what[0]] >= _times_needed(what[0], a, b)
        seen[what] = equation.value
    return agreed, changed


def _times_needed(factors: Sequence[int], a: int, b: int) -> int:
    """How often a product belongs into a * b, at least once: 70 * 8 and 8 * 70 are two parts of 78 * 78."""
    x, y = factors
    orders = {(x, y), (y, x)}
    return max(1, sum(_has(a, one) and _has(b, other) for one, other in orders))


def _reached_twice(equations: Sequence[Equation], a: int, b: int) -> bool:
    """Is the last total that sums or products reach also reached in another way, or divided back?"""
    totals = [equation for equation in equations if "/" not in equation.signs]
    if not totals:
        return False
    total, asked = totals[-1].value, _what_is(a, b)
    ways = {_what(equation) for equation in totals if equation.value == total} - {asked}
    undone = any(
        equation.signs == "/" and equation.numbers[0] == total and equation.value in (a, b) for equation in equations
    )
    return len(ways) > 1 or undone


def _what_is(a: int, b: int) -> tuple[tuple[int, ...], str]:
    return (min(a, b), max(a, b)), "*"


def _sums_parts(equations: Sequence[Equation], a: int, b: int) -> bool:
    """Does the value of a part go into a later sum or difference?"""
    parts: set[Value] = set()
    for equation in equations:
        if equation.signs.strip("+-()") == "" and not parts.isdisjoint(equation.numbers):
            return True
        if equation.signs == "*" and is_part(equation.numbers, a, b):
            parts.add(equation.value)
    return False


def is_part(factors: Sequence[int], a: int, b: int) -> bool:
    """Are these two factors made of places of a and of b, in either order, and not all of both?"""
    x, y = factors
    either = (_has(a, x) and _has(b, y)) or (_has(a, y) and _has(b, x))
    return either and sorted(factors) != sorted((a, b))


def _has(number: int, part: int) -> bool:
    """Is `part` made of whole places of `number`: 305 has 300, 5 and 305?"""
    return part > 0 and set(places(part)) <= set(places(number))

"""The rules that detect reasoning behaviours in a multiplication completion."""

from collections import Counter
from collections.abc import Sequence

from envs.behaviors import Behaviors
from envs.equations import Equation, Value, end_of_thought, read_equations
from envs.multiplication.trace import digit_values, read_trace
from envs.words import read_words

Calculation = tuple[tuple[int, ...], str]  # operands (sorted where order does not matter), signs


def read_multiplication_behaviors(text: str, a: int, b: int) -> Behaviors:
    """Detect the behaviours of a completion to a * b, a and b >= 0. A part is a product of digit values of a and
    of b other than a * b itself: of 47 * 38, `40 * 30`, `47 * 8`, `38 * 7`.

    verification       a product is computed again with the same value (70 * 8 and 8 * 70 are two parts of
                       78 * 78 and do not count as a check); or the total is reached in a second way: by another
                       sum or product, other than the plain a * b, or undone by a division that yields a or b;
                       or a word of checking stands right before an equation
    backtracking       the same product or sum is computed again with another value; or words
    subgoals           the value of a part is used in a later sum or difference; or "first ... get ..."
    backward_chaining  words only
    """
    thought = text[: end_of_thought(text)]
    words = read_words(thought)
    equations = [equation for equation in read_equations(thought) if not equation.restates]
    lines = read_trace(thought, a, b).lines
    agreed, changed = _repeated(equations, a, b)
    return Behaviors(
        verification=agreed
        or _reached_twice(equations, a, b)
        or words.announce([equation.start for equation in equations]),
        backtracking=changed or words.backtracking,
        subgoals=_sums_parts(equations, a, b) or words.subgoals,
        backward_chaining=words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        equations=len(equations),
        true_equations=sum(equation.is_true for equation in equations),
        tries=len(lines),
        copied=sum(line.copied for line in lines),
    )


def _calculation(equation: Equation) -> Calculation:
    """The left side of an equation, independent of the order of the operands of a sum or product."""
    in_order = equation.signs.strip("+") and equation.signs.strip("*")
    return (equation.numbers if in_order else tuple(sorted(equation.numbers))), equation.signs


def _repeated(equations: Sequence[Equation], a: int, b: int) -> tuple[bool, bool]:
    """Whether a product was computed again with the same value, and whether anything was computed again with
    another value."""
    seen: dict[Calculation, Value] = {}
    repetitions: Counter[tuple[int, ...]] = Counter()
    agreed = changed = False
    for equation in equations:
        calculation = _calculation(equation)
        changed |= seen.get(calculation, equation.value) != equation.value
        if equation.signs == "*" and seen.get(calculation) == equation.value:
            factors = calculation[0]
            repetitions[factors] += 1
            agreed |= repetitions[factors] >= _times_needed(factors, a, b)
        seen[calculation] = equation.value
    return agreed, changed


def _times_needed(factors: Sequence[int], a: int, b: int) -> int:
    """How often a product occurs among the parts of a * b, at least 1: 70 * 8 and 8 * 70 are two parts of 78 * 78."""
    x, y = factors
    orders = {(x, y), (y, x)}
    return max(1, sum(_has(a, first) and _has(b, second) for first, second in orders))


def _reached_twice(equations: Sequence[Equation], a: int, b: int) -> bool:
    """Whether the last value of a sum or product is also reached in another way, or is divided back."""
    totals = [equation for equation in equations if "/" not in equation.signs]
    if not totals:
        return False
    total = totals[-1].value
    question = ((min(a, b), max(a, b)), "*")
    ways = {_calculation(equation) for equation in totals if equation.value == total} - {question}
    undone = any(
        equation.signs == "/" and equation.numbers[0] == total and equation.value in (a, b) for equation in equations
    )
    return len(ways) > 1 or undone


def _sums_parts(equations: Sequence[Equation], a: int, b: int) -> bool:
    """Whether the value of a part is used in a later sum or difference."""
    parts: set[Value] = set()
    for equation in equations:
        if equation.signs.strip("+-()") == "" and not parts.isdisjoint(equation.numbers):
            return True
        if equation.signs == "*" and _is_part(equation.numbers, a, b):
            parts.add(equation.value)
    return False


def _is_part(factors: Sequence[int], a: int, b: int) -> bool:
    """Whether the two factors consist of digit values of a and of b, in either order, and are not a and b."""
    x, y = factors
    either = (_has(a, x) and _has(b, y)) or (_has(a, y) and _has(b, x))
    return either and sorted(factors) != sorted((a, b))


def _has(number: int, part: int) -> bool:
    """Whether `part` consists of digit values of `number`: 305 has 300, 5 and 305."""
    return part > 0 and set(digit_values(part)) <= set(digit_values(number))

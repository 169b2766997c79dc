"""Reads the trace of a countdown search: attempts, verdicts on them, and steps back from the target.

It follows the lines of the tiny models (`16 - 8 = 8, 8 + 4 = 12 yes`, or 对 for yes) as well as sentences, lists and
expressions with several signs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from envs.equations import Equation, Value, read_equations

VERDICT_REACH = 100  # maximum number of characters between an equation and the end of a verdict on it
MAX_STEPS = 50  # equations in one attempt; without a limit, hostile text would let it grow forever
# The words with which the tiny models judge an attempt, by language.
VERDICT_WORDS = {
    "en": {"low": "low", "high": "high", "yes": "yes"},
    "zh": {"low": "低", "high": "高", "yes": "对"},
}
PLAIN_VERDICTS = {word: verdict for words in VERDICT_WORDS.values() for verdict, word in words.items()}
SENTENCE_END = re.compile(r"\n|[.;!?](?=\s|$)")
MOVES_ON = re.compile(r"\b(?:try|trying|another|instead|next|then|need|want)\b")


@dataclass(frozen=True, slots=True)
class TraceVerdict:
    """`text[start:end]` judges an equation with this value. `word` is "yes", "no", "low" or "high", in whatever
    language the text is."""

    start: int
    end: int
    word: str
    value: Value


@dataclass(slots=True)
class Attempt:
    """One attempt to reach the target: equations that belong together.

    pool      available numbers: given numbers not used yet, and computed values
    made      the computed values in the pool
    legal     all numbers used so far were available
    subgoal   an equation used a computed value
    met       a step back from the target showed that the numbers in the pool reach it
    verdicts  the verdicts on its equations, in order; the last one judges the attempt
    """

    pool: list[Value]
    equations: list[Equation] = field(default_factory=list)
    made: list[Value] = field(default_factory=list)
    legal: bool = True
    subgoal: bool = False
    met: bool = False
    verdicts: list[TraceVerdict] = field(default_factory=list)

    @property
    def last_verdict(self) -> str | None:
        """The word of the last verdict; None without a verdict."""
        return self.verdicts[-1].word if self.verdicts else None

    @property
    def copied(self) -> bool:
        """Whether each given number and each computed value was used exactly once."""
        return self.legal and len(self.pool) == 1

    @property
    def arithmetic(self) -> bool:
        """Whether every equation is true."""
        return all(equation.is_true for equation in self.equations)

    @property
    def value(self) -> Value:
        """The value that the last equation states."""
        return self.equations[-1].value

    @property
    def steps(self) -> list[tuple[tuple[int, ...], str]]:
        """The calculations, by which two attempts are compared."""
        return [(equation.numbers, equation.signs) for equation in self.equations]

    def hits(self, target: int) -> bool:
        """Whether the attempt is a correct solution."""
        return self.copied and self.value == target and self.arithmetic

    def add(self, equation: Equation) -> None:
        """Append an equation and update the pool."""
        self.equations.append(equation)
        if equation.restates:
            return
        for number in equation.numbers:
            if number in self.made:
                self.made.remove(number)
                self.subgoal = True
            if number in self.pool:
                self.pool.remove(number)
            else:
                self.legal = False
        self.pool.append(equation.value)
        self.made.append(equation.value)

    def continues_with(self, equation: Equation, same_sentence: bool, given: Sequence[int]) -> bool:
        """Whether `equation` belongs to this attempt.

        Within a sentence (in the tiny model's language, a line) it does until all numbers are used. Across
        sentences it does as long as numbers are left and either it uses a value that only this attempt has
        computed, or there is no verdict yet and all its operands are available.
        """
        if equation.restates:
            return True
        if len(self.equations) >= MAX_STEPS:
            return False
        is_complete = len(self.pool) == 1
        if same_sentence:
            return not is_complete or any(number in self.made for number in equation.numbers)
        if is_complete:
            return False
        if any(number in self.made and number not in given for number in equation.numbers):
            return True
        return not self.verdicts and all(number in self.pool for number in equation.numbers)


@dataclass(frozen=True)
class CountdownTrace:
    """All equations and attempts of a thought, in order. `worked_back`: a step back from the target led to a value
    that is available or was reached."""

    equations: list[Equation]
    attempts: list[Attempt]
    worked_back: bool


def read_trace(thought: str, numbers: Sequence[int], target: int) -> CountdownTrace:
    """Read a thought, which ends at `envs.equations.end_of_thought`."""
    equations = read_equations(thought)
    attempts: list[Attempt] = []
    goals: dict[Value, list[int]] = {target: list(numbers)}  # value to reach -> given numbers left to compute it
    worked_back, last = False, None
    starts = [*(equation.start for equation in equations), len(thought)]
    for equation, next_start in zip(equations, starts[1:]):
        current = attempts[-1] if attempts else None
        same_sentence = last is not None and is_same_sentence(thought[last.end : equation.start])
        in_attempt = same_sentence and current is not None and len(current.pool) > 1
        if not in_attempt and (goal := _step_back(equation, goals, numbers, current)) is not None:
            goals[goal[0]] = goal[1]
            worked_back |= goal[1] == [goal[0]]
            last = None
            continue
        if current is not None and not same_sentence and _meets(current, equation, numbers, target):
            current.met = worked_back = True
            continue
        if current is None or not current.continues_with(equation, same_sentence, numbers):
            current = Attempt(list(numbers))
            attempts.append(current)
        current.add(equation)
        if (verdict := _read_verdict(thought, equation, next_start, target)) is not None:
            current.verdicts.append(verdict)
        worked_back |= len(goals) > 1 and _reaches(current, goals, numbers, target)
        last = equation
    return CountdownTrace(equations, attempts, worked_back)


def is_same_sentence(between: str) -> bool:
    """Whether no line and no sentence ends in the text between two equations."""
    return between == ", " or SENTENCE_END.search(between) is None


def _read_verdict(thought: str, equation: Equation, next_start: int, target: int) -> TraceVerdict | None:
    """The verdict that directly follows an equation: before the next equation, and before words that turn to
    something else ("try", "another", "need")."""
    after = thought[equation.end : min(next_start, equation.end + VERDICT_REACH)]
    if after == ", " or not (word := after.strip()):
        return None
    if word in PLAIN_VERDICTS:
        start = equation.end + after.index(word)
        return TraceVerdict(start, start + len(word), PLAIN_VERDICTS[word], equation.value)
    after = after.lower() if len(after.lower()) == len(after) else after
    turn = MOVES_ON.search(after)
    found = _verdicts(target).search(after, 0, turn.start() if turn else len(after))
    if found is None:
        return None
    assert found.lastgroup is not None
    return TraceVerdict(equation.end + found.start(), equation.end + found.end(), found.lastgroup, equation.value)


@lru_cache(maxsize=1024)
def _verdicts(target: int) -> re.Pattern[str]:
    """The pattern of a verdict. The first alternative that matches wins, so "not equal" precedes "equal". It is
    only applied to VERDICT_REACH characters."""
    goal = rf"(?:(?:the |our )?(?:target|goal)|{target}(?![0-9]))"
    judged = rf"(?:equal|work|match|correct|right|reach|give|result|answer|enough|what|{goal})"
    no = rf"(?:\bnot|n['’]t)(?: [a-z]{{1,12}}){{0,2}}? {judged}|(?:≠|!=|/=) ?{target}\b|\bwrong\b|\bincorrect\b"
    no += r"|\bno\b(?=[.,!;)]|\s*$)|[✗✘❌]"
    low = rf"\btoo (?:low|small)\b|\b(?:less|lower|smaller) than\b|\bbelow {goal}|\blow\b|\A ?< ?{target}\b"
    high = rf"\btoo (?:high|big|large|much)\b|\b(?:more|higher|greater|larger|bigger) than\b|\babove {goal}|\bhigh\b"
    high += rf"|\bexceeds\b|\A ?> ?{target}\b"
    yes = rf"\byes\b|\bworks\b|\bcorrect\b|\bbingo\b|\bmatch(?:es|ed)? {goal}|\breache[sd] {goal}"
    yes += rf"|(?:\bis|['’]s|\bequals?|\bequal to|\bgives|\bgot|\bhit) (?:exactly )?{goal}|[✓✔✅]"
    return re.compile(f"(?P<no>{no})|(?P<low>{low})|(?P<high>{high})|(?P<yes>{yes})")


def _step_back(
    equation: Equation, goals: dict[Value, list[int]], given: Sequence[int], current: Attempt | None
) -> tuple[Value, list[int]] | None:
    """The next value to reach after a true step back from a goal, and the given numbers left to compute it:
    `35 - 17 = 18` from the goal 35 with 1 17 17 leaves the value 18 and the numbers 1 and 17.

    None if the equation is not such a step. An equation that starts with a given number or with a value of the
    current attempt is a step forward.
    """
    first, *others = equation.numbers
    if first not in goals or first in given or not equation.is_true or equation.restates:
        return None
    if current is not None and first in current.made:
        return None
    left = list(goals[first])
    for number in others:
        if number not in left:
            return None
        left.remove(number)
    return (equation.value, left) if left else None


def _meets(attempt: Attempt, equation: Equation, given: Sequence[int], target: int) -> bool:
    """Whether the equation steps back from the target to exactly the numbers in the attempt's pool: after
    `44 + 19 = 63`, `98 - 63 = 35` from the target 98 leaves 35, the only number not used yet."""
    first, *others = equation.numbers
    if first != target or target in given or not (equation.is_true and attempt.legal and attempt.arithmetic):
        return False
    return sorted([*others, equation.value], key=Fraction) == sorted(attempt.pool, key=Fraction)


def _reaches(attempt: Attempt, goals: dict[Value, list[int]], given: Sequence[int], target: int) -> bool:
    """Whether the attempt computes the value of an earlier step back, from exactly the numbers left for it."""
    goal = goals.get(attempt.value)
    if goal is None or attempt.value == target or not attempt.legal or not attempt.arithmetic:
        return False
    left = list(given)
    for number in goal:
        left.remove(number)
    return sorted([*left, attempt.value], key=Fraction) == sorted(attempt.pool, key=Fraction)

"""Reading a countdown search in any language: its tries, what is said of them, steps back from the target.

envs/countdown/trace.py reads the lines of the tiny model. This reader also follows sentences, lists and
expressions of several signs; on the tiny model's lines both find the same tries.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from envs.equations import Equation, Value, read_equations

REACH = 100  # characters after an equation in which a verdict on it may stand
MOST_STEPS = 50  # equations of a try; hostile text would make it grow without end
PLAIN_VERDICTS = ("yes", "low", "high")
SENTENCE_END = re.compile(r"\n|[.;!?](?=\s|$)")
MOVES_ON = re.compile(r"\b(?:try|trying|another|instead|next|then|need|want)\b")


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict, `text[start:end]`, on an equation of this value: "yes", "no", "low" or "high"."""

    start: int
    end: int
    word: str
    value: Value


@dataclass(slots=True)
class Attempt:
    """Equations that belong together.

    pool      numbers that it still has: given ones that it has not used, and values that it made
    made      those of them that it made
    legal     so far it used only numbers that it had
    subgoal   an equation of it used a value that it had made
    met       a step back from the target showed that it only has to take what it still has
    verdicts  what was said of its equations, in order; the last one judges the try
    """

    pool: list[Value]
    equations: list[Equation] = field(default_factory=list)
    made: list[Value] = field(default_factory=list)
    legal: bool = True
    subgoal: bool = False
    met: bool = False
    verdicts: list[Said] = field(default_factory=list)

    @property
    def called(self) -> str | None:
        """What the last verdict on it says."""
        return self.verdicts[-1].word if self.verdicts else None

    @property
    def copied(self) -> bool:
        """It used the given numbers and its own values, each exactly once."""
        return self.legal and len(self.pool) == 1

    @property
    def arithmetic(self) -> bool:
        return all(equation.is_true for equation in self.equations)

    @property
    def value(self) -> Value:
        return self.equations[-1].value

    @property
    def steps(self) -> list[tuple[tuple[int, ...], str]]:
        """What it does, to tell whether another does the same."""
        return [(equation.numbers, equation.signs) for equation in self.equations]

    def hits(self, target: int) -> bool:
        return self.copied and self.value == target and self.arithmetic

    def take(self, equation: Equation) -> None:
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

    def goes_on(self, equation: Equation, same_sentence: bool, given: Sequence[int]) -> bool:
        """Does `equation` belong to this attempt? Within a sentence (in the tiny language: a line) it
        does, until all numbers are used. Across sentences it does as long as numbers are left and it
        either takes up a value that only this attempt has, or no verdict was given yet and the
        attempt has all that it uses."""
        if equation.restates:
            return True
        if len(self.equations) >= MOST_STEPS:
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
class Search:
    """`worked_back`: a step back from the target was made, and what it left is there or was reached."""

    equations: list[Equation]
    attempts: list[Attempt]
    worked_back: bool


def read_search(thought: str, numbers: Sequence[int], target: int) -> Search:
    """The tries of a thought (see `end_of_thought`), in order."""
    equations = read_equations(thought)
    attempts: list[Attempt] = []
    goals: dict[Value, list[int]] = {target: list(numbers)}  # value to reach -> given numbers left for it
    worked_back, last = False, None
    starts = [*(equation.start for equation in equations), len(thought)]
    for equation, next_start in zip(equations, starts[1:]):
        current = attempts[-1] if attempts else None
        same_sentence = last is not None and is_same_sentence(thought[last.end : equation.start])
        in_a_try = same_sentence and current is not None and len(current.pool) > 1
        if not in_a_try and (goal := _step_back(equation, goals, numbers, current)) is not None:
            goals[goal[0]] = goal[1]
            worked_back |= goal[1] == [goal[0]]
            last = None
            continue
        if current is not None and not same_sentence and _meets(current, equation, numbers, target):
            current.met = worked_back = True
            continue
        if current is None or not current.goes_on(equation, same_sentence, numbers):
            current = Attempt(list(numbers))
            attempts.append(current)
        current.take(equation)
        if (said := read_verdict(thought, equation, next_start, target)) is not None:
            current.verdicts.append(said)
        worked_back |= len(goals) > 1 and _reaches(current, goals, numbers, target)
        last = equation
    return Search(equations, attempts, worked_back)


def is_same_sentence(between: str) -> bool:
    """No line and no sentence ends in the text between two equations."""
    return between == ", " or SENTENCE_END.search(between) is None


def read_verdict(thought: str, equation: Equation, next_start: int, target: int) -> Said | None:
    """What is said of an equation right after it, before the next equation and before words that turn
    to something else ("try", "another", "need")."""
    after = thought[equation.end : next_start if next_start - equation.end < REACH else equation.end + REACH]
    if after == ", " or not (word := after.strip()):
        return None
    if word in PLAIN_VERDICTS:
        start = equation.end + after.index(word)
        return Said(start, start + len(word), word, equation.value)
    after = after.lower() if len(after.lower()) == len(after) else after
    turn = MOVES_ON.search(after)
    found = _verdicts(target).search(after, 0, turn.start() if turn else len(after))
    if found is None:
        return None
    assert found.lastgroup is not None
    return Said(equation.end + found.start(), equation.end + found.end(), found.lastgroup, equation.value)


@lru_cache(maxsize=1024)
def _verdicts(target: int) -> re.Pattern[str]:
    """The first of these wins, so "not equal" comes before "equal". Only ever used on REACH characters."""
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
    """The value that is left to reach after a true step back from a goal, and the given numbers left
    for it: `35 - 17 = 18` from the goal 35 with 1 17 17 leaves 18, from 1 and 17. A goal that is a
    given number, or that the current attempt made, is where one comes from, not where one goes."""
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
    """After `44 + 19 = 63`, `98 - 63 = 35` from the target 98 leaves 35, the number that is still there."""
    first, *others = equation.numbers
    if first != target or target in given or not (equation.is_true and attempt.legal and attempt.arithmetic):
        return False
    return sorted([*others, equation.value], key=Fraction) == sorted(attempt.pool, key=Fraction)


def _reaches(attempt: Attempt, goals: dict[Value, list[int]], given: Sequence[int], target: int) -> bool:
    """The attempt makes what a step back left to reach, from all the numbers left for it and no others."""
    goal = goals.get(attempt.value)
    if goal is None or attempt.value == target or not attempt.legal or not attempt.arithmetic:
        return False
    left = list(given)
    for number in goal:
        left.remove(number)
    return sorted([*left, attempt.value], key=Fraction) == sorted(attempt.pool, key=Fraction)

"""The highlighted spans of a completion: tries by outcome, verdicts by truth, and the answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.countdown.trace import Attempt, TraceVerdict, is_same_sentence, read_trace
from envs.equations import Equation, end_of_thought, read_equations
from rewards.tags import answer_span

KINDS = ("hit", "miss", "slip", "verdict_true", "verdict_false", "answer")


@dataclass(frozen=True, order=True)
class Span:
    """A highlighted part `text[start:end]` with one of KINDS.

    hit            a try that reaches the target with the given numbers and correct arithmetic
    miss           true equations that do not reach the target; in tasks without tries, any true equation
    slip           a false equation, a number that is not available, or a target reached without using all numbers
    verdict_true   a verdict that is true for the value before it; "yes" is true only for a hit
    verdict_false  a verdict that is not true for the value before it
    answer         the text inside the last answer tag
    """

    start: int
    end: int
    kind: str


def read_spans(fields: Mapping[str, Any], text: str) -> list[Span]:
    """The spans of a completion, sorted and without overlaps. Countdown problems have tries, whatever their task's name
    in a mix."""
    thought = text[: end_of_thought(text)]
    if "numbers" in fields and "target" in fields:
        spans = list(_of_search(thought, fields["numbers"], fields["target"]))
    else:
        equations = read_equations(thought)
        spans = [Span(one.start, one.end, "miss" if one.is_true else "slip") for one in equations]
    return _apart(spans + _answer(text))


def _of_search(thought: str, numbers: Sequence[int], target: int) -> Iterator[Span]:
    trace = read_trace(thought, numbers, target)
    in_tries = {equation.start for attempt in trace.attempts for equation in attempt.equations}
    for equation in trace.equations:
        if equation.start not in in_tries:  # a backward step from the target
            yield Span(equation.start, equation.end, "miss")
    for attempt in trace.attempts:
        kind = _kind(attempt, target)
        for start, end in _pieces(thought, attempt.equations):
            yield Span(start, end, kind)
        for verdict in attempt.verdicts:
            fits = _fits(verdict, target, verdict is attempt.verdicts[-1] and kind == "hit")
            yield Span(verdict.start, verdict.end, "verdict_true" if fits else "verdict_false")


def _kind(attempt: Attempt, target: int) -> str:
    if attempt.hits(target):
        return "hit"
    is_short_hit = attempt.value == target and not attempt.copied
    return "miss" if attempt.legal and attempt.arithmetic and not is_short_hit else "slip"


def _pieces(thought: str, equations: Sequence[Equation]) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of the equations of a try; adjacent equations of one sentence form a single piece."""
    start, end = equations[0].start, equations[0].end
    for equation in equations[1:]:
        between = thought[end : equation.start]
        if not is_same_sentence(between) or any(letter.isalpha() for letter in between):
            yield start, end
            start = equation.start
        end = max(end, equation.end)
    yield start, end


def _fits(verdict: TraceVerdict, target: int, is_hit: bool) -> bool:
    if verdict.word == "yes":
        return is_hit
    value = verdict.value
    return {"low": value < target, "high": value > target, "no": value != target}[verdict.word]


def _answer(text: str) -> list[Span]:
    start, end = answer_span(text) or (0, 0)
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return [Span(start, start + len(inner.strip()), "answer")] if inner.strip() else []


def _apart(spans: Sequence[Span]) -> list[Span]:
    """Sort the spans and drop each span that overlaps an earlier one."""
    kept: list[Span] = []
    for span in sorted(spans):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept

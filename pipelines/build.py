"""Build journeys and their controls from the samples of many problems.

The controls show what the wrong attempts of a journey are worth. They are shortcuts, which are right attempts alone:
either as many as there are journeys, or enough to have as many tokens as the journeys.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from conf.traces import JourneyConfig
from grpo.types import Problem
from inference.results import ProblemRow
from pipelines.journey import journey, read_attempts, shortcut
from pipelines.traces import Trace, share_correct


@dataclass(frozen=True)
class Built:
    """What `build` returns.

    journeys   at most one per problem, in the order of the problems
    shortcuts  the right attempts alone, by problem key; the first is the one in which the journey ends
    """

    journeys: list[Trace]
    shortcuts: dict[str, list[Trace]]


def build(
    problems: Sequence[Problem],
    rows: Mapping[str, ProblemRow],
    tiny: Collection[str],
    settings: JourneyConfig,
    count_tokens: Callable[[str], int],
) -> Built:
    """Build the journeys and the shortcuts of the problems from their samples.

    tiny          names of the tasks whose samples are written in the trace language of the tiny countdown models
    count_tokens  length of a completion, the end token included
    """
    built = Built([], {})
    for problem in problems:
        row, is_tiny = rows[problem.key], problem.env in tiny
        attempts = read_attempts(problem, row["candidates"], is_tiny)
        trace = partial(_trace, problem, share_correct(row), count_tokens)
        found = journey(problem, attempts, settings, count_tokens, is_tiny)
        if found is not None:
            built.journeys.append(trace(found.completion, found.attempts[-1].sample, len(found.attempts)))
        if right := [attempt for attempt in attempts if attempt.right]:
            built.shortcuts[problem.key] = [trace(shortcut(one, is_tiny), one.sample, 1) for one in right]
    return built


def _trace(
    problem: Problem,
    difficulty: float,
    count_tokens: Callable[[str], int],
    completion: str,
    sample: int,
    attempts: int,
) -> Trace:
    tokens = count_tokens(completion)
    return Trace(problem, completion, tokens, True, False, difficulty, sample, attempts)


def shortcuts_of(journeys: Sequence[Trace], shortcuts: Mapping[str, Sequence[Trace]]) -> list[Trace]:
    """The control with an equal number of samples: the right attempt of each journey alone."""
    return [shortcuts[trace.problem.key][0] for trace in journeys]


def with_equal_tokens(journeys: Sequence[Trace], shortcuts: Mapping[str, Sequence[Trace]]) -> list[Trace]:
    """The control with an equal number of tokens: as many shortcuts as come closest to the tokens of the journeys.

    The first ones are those of the journeys; then follow the first shortcuts of the other problems, the second
    shortcuts of all problems, and so on. If all are used, they are repeated in the same order.
    """
    budget = sum(trace.tokens for trace in journeys)
    keys = list(dict.fromkeys([*(trace.problem.key for trace in journeys), *shortcuts]))
    most = max((len(own) for own in shortcuts.values()), default=0)
    pool = [shortcuts[key][turn] for turn in range(most) for key in keys if turn < len(shortcuts[key])]
    chosen: list[Trace] = []
    total = 0
    for trace in itertools.cycle(pool):
        if total + trace.tokens / 2 > budget:  # without it, the sum is closer
            break
        chosen.append(trace)
        total += trace.tokens
    return chosen

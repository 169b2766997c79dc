"""Problems by difficulty, and the best strategy for each difficulty (arXiv 2408.03314, section 3).

As in the paper but for two things. A problem of which all samples failed is as hard as another such one; the
hash of its key decides which of the two falls into the harder bin, so that bins are of equal size. Accuracy
is the mean over problems, not over the two folds, which differ in size when a hash makes them.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.statistics import Interval, mean_interval

LEVELS = 5
Outcome = tuple[float, float]  # (correct: 0..1, tokens generated for the problem)


@dataclass(frozen=True)
class Choice:
    """What one half of the problems of a level chose, and what it reached on the other half.

    measured_on: the fold, 0 or 1, of these `problems`; strategy: None where none was within the budget;
    accuracy and tokens (a problem): on those problems, which had no part in the choice."""

    level: int
    measured_on: int
    strategy: str | None
    problems: int
    accuracy: float
    tokens: float


@dataclass(frozen=True)
class ComputeOptimal:
    """A budget spent by difficulty. outcomes: problem key -> what the strategy that the other half chose
    did on it, for intervals and paired comparisons; accuracy and tokens: their means over all problems."""

    budget: float
    choices: tuple[Choice, ...]
    outcomes: Mapping[str, Outcome]
    accuracy: float
    tokens: float


def oracle_bins(samples: Mapping[str, Sequence[bool]]) -> dict[str, int]:
    """Levels by the share of correct samples, which takes the ground truth: problem key -> was each sample
    correct. Samples that are not those of the strategies compared keep luck from looking like ease.

    Raises:
        ValueError: a problem has no samples, or what `levels` raises.
    """
    if empty := [key for key, correct in samples.items() if not correct]:
        raise ValueError(f"each problem needs at least one sample, got none for {empty[0]!r}")
    return levels({key: sum(correct) / len(correct) for key, correct in samples.items()})


def predicted_bins(scores: Mapping[str, float]) -> dict[str, int]:
    """Levels by a verifier's mean score over the samples of each problem, which takes no ground truth.

    Raises:
        ValueError: what `levels` raises.
    """
    return levels(scores)


def levels(ease: Mapping[str, float], count: int = LEVELS) -> dict[str, int]:
    """Problem key -> level, 1 the easiest (the greatest ease) to `count`; sizes differ by one at most.

    Raises:
        ValueError: fewer problems than levels, or an ease that is not a number.
    """
    if len(ease) < count:
        raise ValueError(f"{count} levels of difficulty take at least {count} problems, got {len(ease)}")
    if wrong := [key for key, value in ease.items() if math.isnan(value)]:
        raise ValueError(f"the ease of a problem must be a number, got nan for {wrong[0]!r}")
    ranked = sorted(ease, key=lambda key: (-ease[key], _hash(key)))
    return {key: 1 + rank * count // len(ranked) for rank, key in enumerate(ranked)}


def fold(key: str) -> int:
    """Which half of the problems, 0 or 1: a function of the key alone, whatever else is evaluated."""
    return _hash(key) % 2


def accuracy_by_level(
    outcomes: Mapping[str, Outcome], bins: Mapping[str, int], confidence: float = 0.95
) -> dict[int, Interval]:
    """Level -> mean accuracy of a strategy on its problems, easiest level first.

    Raises:
        ValueError: `outcomes` and `bins` are not over the same problems.
    """
    _check_same(bins, outcomes, "the strategy")
    return {
        level: mean_interval([outcomes[key][0] for key in _members(bins, level)], confidence)
        for level in sorted(set(bins.values()))
    }


def compute_optimal(
    results: Mapping[str, Mapping[str, Outcome]], bins: Mapping[str, int], budgets: Sequence[float]
) -> list[ComputeOptimal]:
    """For each budget (mean tokens a problem) the strategy that does best at each level, by two-fold
    cross-validation: one half of the problems of a level chooses the most accurate strategy whose mean tokens,
    on that half, are within the budget; the other half measures it, and may so take a few tokens more. Equal
    accuracy: fewer tokens, then the name, decide. Where nothing is within the budget the problems count as
    unanswered: accuracy 0 with 0 tokens.

    results: strategy (with its size) -> problem key -> (correct, tokens); bins: problem key -> level.

    Raises:
        ValueError: no strategy; one that was not evaluated on just the problems of `bins`; a budget not > 0;
            a level whose problems all fall into one half.
    """
    if not results:
        raise ValueError("results must hold at least one strategy, got none")
    for strategy, outcomes in results.items():
        _check_same(bins, outcomes, strategy)
    if wrong := [budget for budget in budgets if not budget > 0]:
        raise ValueError(f"a budget must be > 0 tokens a problem, got {wrong[0]}")
    halves = {
        level: [[key for key in _members(bins, level) if fold(key) == half] for half in (0, 1)]
        for level in sorted(set(bins.values()))
    }
    for level, (first, second) in halves.items():
        if not first or not second:
            raise ValueError(f"level {level} has all its {len(first + second)} problems in one half; it takes more")
    return [_at_budget(results, halves, budget) for budget in budgets]


def _at_budget(
    results: Mapping[str, Mapping[str, Outcome]], halves: Mapping[int, Sequence[Sequence[str]]], budget: float
) -> ComputeOptimal:
    choices: list[Choice] = []
    outcomes: dict[str, Outcome] = {}
    for level, folds in halves.items():
        for half in (0, 1):
            strategy = _best(results, folds[1 - half], budget)
            measured = {key: results[strategy][key] if strategy is not None else (0.0, 0.0) for key in folds[half]}
            choices.append(Choice(level, half, strategy, len(measured), *_means(measured.values())))
            outcomes |= measured
    return ComputeOptimal(budget, tuple(choices), outcomes, *_means(outcomes.values()))


def _best(results: Mapping[str, Mapping[str, Outcome]], keys: Sequence[str], budget: float) -> str | None:
    """The most accurate strategy on these problems, and only these are looked at."""
    means = {strategy: _means(outcomes[key] for key in keys) for strategy, outcomes in results.items()}
    affordable = [strategy for strategy, (_, tokens) in means.items() if tokens <= budget]
    return min(affordable, key=lambda strategy: (-means[strategy][0], means[strategy][1], strategy), default=None)


def _means(outcomes: Iterable[Outcome]) -> Outcome:
    correct, tokens = zip(*outcomes, strict=True)
    return math.fsum(correct) / len(correct), math.fsum(tokens) / len(tokens)


def _members(bins: Mapping[str, int], level: int) -> list[str]:
    return sorted(key for key, its in bins.items() if its == level)  # sums must not depend on the order given


def _check_same(bins: Mapping[str, int], outcomes: Mapping[str, Outcome], strategy: str) -> None:
    if missing := bins.keys() - outcomes.keys():
        raise ValueError(f"{strategy} must be evaluated on every problem that has a level, not so {min(missing)!r}")
    if unknown := outcomes.keys() - bins.keys():
        raise ValueError(f"every problem of {strategy} must have a level, not so {min(unknown)!r}")


def _hash(key: str) -> int:
    """Of 256 bits. Its last one gives the fold and its first ones the order of tied problems, so that the level
    of a problem says nothing about its fold."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")

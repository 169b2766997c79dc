"""Difficulty levels of problems, and the best strategy for each level (arXiv 2408.03314, section 3).

Two details differ from the paper. Problems with equal ease, for example those of which all samples failed, are ordered
by a hash of their keys, so that the levels have equal sizes. Accuracy is the mean over problems, not over the two
folds, whose sizes differ because a hash assigns them.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from inference.statistics import Interval, mean_interval

LEVELS = 5


class ProblemResult(NamedTuple):
    """What a strategy reached on one problem: its accuracy, 0..1, for the generated tokens."""

    correct: float
    tokens: float


@dataclass(frozen=True)
class Choice:
    """The strategy that one half of a level's problems chose for the other half; None if none is within the budget."""

    level: int
    strategy: str | None


@dataclass(frozen=True)
class ComputeOptimal:
    """The result of choosing a strategy per difficulty level within a budget.

    budget            bound on the mean tokens per problem
    choices           two per level: the strategy measured on fold 0, then the one measured on fold 1
    results           problem key -> result of the strategy that the other half of its level chose
    accuracy, tokens  means over all problems
    """

    budget: float
    choices: tuple[Choice, ...]
    results: Mapping[str, ProblemResult]
    accuracy: float
    tokens: float


def oracle_bins(samples: Mapping[str, Sequence[bool]]) -> dict[str, int]:
    """Return difficulty levels by the share of correct samples, which requires the ground truth.

    samples  problem key -> correctness of each sample. They should differ from the samples of the compared
             strategies; otherwise lucky samples make a problem look easy

    Raises:
        ValueError: a problem has no samples, or there are too few problems.
    """
    if empty := [key for key, correct in samples.items() if not correct]:
        raise ValueError(f"each problem needs at least one sample, got none for {empty[0]!r}")
    return difficulty_levels({key: sum(correct) / len(correct) for key, correct in samples.items()})


def difficulty_levels(ease: Mapping[str, float]) -> dict[str, int]:
    """Return problem key -> level, from 1 (easiest, highest ease) to 5; the sizes of the levels differ by at most one.

    ease  problem key -> any measure that rises with ease, for example a verifier's mean score over the samples

    Raises:
        ValueError: there are fewer problems than levels, or an ease is NaN.
    """
    if len(ease) < LEVELS:
        raise ValueError(f"{LEVELS} difficulty levels need at least {LEVELS} problems, got {len(ease)}")
    if wrong := [key for key, value in ease.items() if math.isnan(value)]:
        raise ValueError(f"the ease of a problem must be a number, got nan for {wrong[0]!r}")
    ranked = sorted(ease, key=lambda key: (-ease[key], _hash(key)))
    return {key: 1 + rank * LEVELS // len(ranked) for rank, key in enumerate(ranked)}


def fold(key: str) -> int:
    """Return the half, 0 or 1, of a problem; it depends only on the key."""
    return _hash(key) % 2


def accuracy_by_level(results: Mapping[str, ProblemResult], bins: Mapping[str, int]) -> dict[int, Interval]:
    """Return level -> mean accuracy of a strategy on the problems of the level, easiest level first.

    Raises:
        ValueError: `results` and `bins` have different problems.
    """
    _check_same(bins, results, "the strategy")
    return {
        level: mean_interval([results[key].correct for key in _members(bins, level)])
        for level in sorted(set(bins.values()))
    }


def compute_optimal(
    strategies: Mapping[str, Mapping[str, ProblemResult]], bins: Mapping[str, int], budgets: Sequence[float]
) -> list[ComputeOptimal]:
    """Return, for each budget, the result of using the best strategy of each difficulty level.

    Strategies are chosen by two-fold cross-validation. One half of the problems of a level chooses the most accurate
    strategy whose mean tokens on that half are within the budget, and the other half measures it, possibly with
    slightly more tokens. Ties are broken by fewer tokens, then by name. If no strategy is within the budget, the
    problems count as unanswered: accuracy 0 with 0 tokens.

    strategies  name (with its size) -> problem key -> result
    bins        problem key -> level
    budgets     mean tokens per problem

    Raises:
        ValueError: there is no strategy, a strategy was not evaluated on exactly the problems of `bins`, a budget is
            not positive, or all problems of a level are in the same half.
    """
    if not strategies:
        raise ValueError("at least one strategy is needed, got none")
    for name, results in strategies.items():
        _check_same(bins, results, name)
    if wrong := [budget for budget in budgets if not budget > 0]:
        raise ValueError(f"a budget must be > 0 tokens per problem, got {wrong[0]}")
    halves = {
        level: [[key for key in _members(bins, level) if fold(key) == half] for half in (0, 1)]
        for level in sorted(set(bins.values()))
    }
    for level, (first, second) in halves.items():
        if not first or not second:
            raise ValueError(
                f"all {len(first + second)} problems of level {level} are in the same half; evaluate more problems"
            )
    return [_at_budget(strategies, halves, budget) for budget in budgets]


def _at_budget(
    strategies: Mapping[str, Mapping[str, ProblemResult]], halves: Mapping[int, Sequence[Sequence[str]]], budget: float
) -> ComputeOptimal:
    choices: list[Choice] = []
    results: dict[str, ProblemResult] = {}
    for level, folds in halves.items():
        for half in (0, 1):
            name = _best(strategies, folds[1 - half], budget)
            measured = {key: ProblemResult(0.0, 0.0) if name is None else strategies[name][key] for key in folds[half]}
            choices.append(Choice(level, name))
            results |= measured
    return ComputeOptimal(budget, tuple(choices), results, *_means(results.values()))


def _best(strategies: Mapping[str, Mapping[str, ProblemResult]], keys: Sequence[str], budget: float) -> str | None:
    """Return the most accurate strategy within the budget on these problems, without looking at any others."""
    means = {name: _means(results[key] for key in keys) for name, results in strategies.items()}
    affordable = [name for name, mean in means.items() if mean.tokens <= budget]
    return min(affordable, key=lambda name: (-means[name].correct, means[name].tokens, name), default=None)


def _means(results: Iterable[ProblemResult]) -> ProblemResult:
    correct, tokens = zip(*results, strict=True)
    return ProblemResult(math.fsum(correct) / len(correct), math.fsum(tokens) / len(tokens))


def _members(bins: Mapping[str, int], level: int) -> list[str]:
    # Sorted, because the order of summation affects the last digits.
    return sorted(key for key, assigned in bins.items() if assigned == level)


def _check_same(bins: Mapping[str, int], results: Mapping[str, ProblemResult], strategy: str) -> None:
    if missing := bins.keys() - results.keys():
        raise ValueError(f"{strategy} must be evaluated on every problem with a level, but lacks {min(missing)!r}")
    if unknown := results.keys() - bins.keys():
        raise ValueError(f"every problem of {strategy} must have a level, but {min(unknown)!r} has none")


def _hash(key: str) -> int:
    """Return a hash of 256 bits. The last bit determines the fold and the first bits order tied problems, so that the
    level of a problem is independent of its fold."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")

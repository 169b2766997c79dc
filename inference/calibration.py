"""How well a verifier's scores separate correct completions from wrong ones, and how well they are calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReliabilityBin:
    """The completions whose scores lie in low..low + 0.1: their number, mean score and share of correct ones."""

    low: float
    count: int
    mean_score: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """The quality of a verifier's scores on a set of completions.

    right       share of correct completions
    auc         area under the ROC curve over all completions; None if all are correct or all are wrong
    auc_within  the same over pairs of completions of one problem; None if no problem has both kinds
    accuracy    share of completions with score > 0.5 exactly if correct
    brier       Brier score, lower is better
    """

    problems: int
    completions: int
    right: float
    auc: float | None
    auc_within: float | None
    accuracy: float
    brier: float
    reliability: list[ReliabilityBin]


def calibration(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> Calibration:
    """Compute all figures from the scores and the correctness of each problem's completions."""
    flat_scores = [score for row in scores for score in row]
    flat_right = [correct for row in right for correct in row]
    has_mixed_problem, has_both = any(0 < sum(row) < len(row) for row in right), 0 < sum(flat_right) < len(flat_right)
    hits = [(score > 0.5) == correct for score, correct in zip(flat_scores, flat_right, strict=True)]
    return Calibration(
        problems=len(scores),
        completions=len(flat_scores),
        right=sum(flat_right) / len(flat_right),
        auc=auc(flat_scores, flat_right) if has_both else None,
        auc_within=auc_within(scores, right) if has_mixed_problem else None,
        accuracy=sum(hits) / len(hits),
        brier=brier(flat_scores, flat_right),
        reliability=reliability(flat_scores, flat_right),
    )


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The probability that a correct completion scores higher than a wrong one, with ties counted half.

    This is the area under the ROC curve, computed from ranks (Mann and Whitney 1947): (R - m(m + 1)/2) / (m n) for
    m correct completions whose ranks sum to R, and n wrong ones.

    Raises:
        ValueError: all completions are correct or all are wrong.
    """
    values, labels = np.array(scores, dtype=float), np.array(right, dtype=bool)
    m, n = int(labels.sum()), int((~labels).sum())
    if m == 0 or n == 0:
        raise ValueError(f"auc needs correct and wrong completions, got {m} correct and {n} wrong")
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[inverse]  # ties share the mean of their ranks
    return float((ranks[labels].sum() - m * (m + 1) / 2) / (m * n))


def auc_within(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> float:
    """`auc` restricted to pairs of completions of the same problem, which measures the ability to choose among them.

    Unlike `auc` it does not rise by recognizing easy problems.

    Raises:
        ValueError: no problem has both correct and wrong completions.
    """
    mixed = [(s, r) for s, r in zip(scores, right, strict=True) if 0 < sum(r) < len(r)]
    if not mixed:
        raise ValueError(f"auc_within needs a problem with correct and wrong completions, got none among {len(scores)}")
    pairs = [sum(r) * (len(r) - sum(r)) for _, r in mixed]
    return sum(auc(s, r) * count for (s, r), count in zip(mixed, pairs, strict=True)) / sum(pairs)


def brier(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The mean squared difference between the score and the outcome, 1 if correct and 0 if wrong (Brier 1950).

    In 0..1, lower is better. Always predicting the share p of correct completions results in p(1 - p).
    """
    return float(np.mean((np.array(scores, dtype=float) - np.array(right, dtype=float)) ** 2))


def reliability(scores: Sequence[float], right: Sequence[bool]) -> list[ReliabilityBin]:
    """Group completions by tenths of the score; empty bins are omitted.

    If the verifier is calibrated, the mean score of each bin equals its share of correct completions.
    """
    values, labels = np.array(scores, dtype=float), np.array(right, dtype=float)
    tenth = np.minimum((values * 10).astype(int), 9)
    return [
        ReliabilityBin(k / 10, int(members.sum()), float(values[members].mean()), float(labels[members].mean()))
        for k in range(10)
        if (members := tenth == k).any()
    ]

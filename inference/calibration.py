"""How well a verifier's scores tell right completions from wrong ones, and what its probabilities are worth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Completions with scores of one tenth of 0..1: how many, their mean score, and the share of right ones."""

    low: float
    count: int
    mean_score: float
    right: float


def auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The chance that a right completion scores higher than a wrong one, a tie counting half: the area under the
    ROC curve, by ranks (Mann and Whitney 1947), R the sum of the m right ones' ranks: (R - m(m + 1)/2) / (m n).

    Raises:
        ValueError: they are all right or all wrong.
    """
    values, labels = np.array(scores, dtype=float), np.array(right, dtype=bool)
    m, n = int(labels.sum()), int((~labels).sum())
    if m == 0 or n == 0:
        raise ValueError(f"auc needs right and wrong completions, got {m} right and {n} wrong")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share the mean of their ranks
    return float((ranks[labels].sum() - m * (m + 1) / 2) / (m * n))


def auc_within(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> float:
    """`auc` over pairs of completions of the same problem alone, which is what choosing among them needs; it
    doesn't rise by knowing which problems are easy.

    Raises:
        ValueError: no problem has both right and wrong completions.
    """
    mixed = [(s, r) for s, r in zip(scores, right, strict=True) if 0 < sum(r) < len(r)]
    if not mixed:
        raise ValueError(f"auc_within needs a problem with right and wrong completions, got none of {len(scores)}")
    pairs = [sum(r) * (len(r) - sum(r)) for _, r in mixed]
    return sum(auc(s, r) * count for (s, r), count in zip(mixed, pairs, strict=True)) / sum(pairs)


def brier(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The mean squared distance of the score to 1 for right, 0 for wrong (Brier 1950), 0..1, lower is better.
    Always saying the share p of right ones gives p(1 - p)."""
    return float(np.mean((np.array(scores, dtype=float) - np.array(right, dtype=float)) ** 2))


def reliability(scores: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """The tenths of 0..1 that have scores; where the verifier is calibrated a bin's two shares agree."""
    values, labels = np.array(scores, dtype=float), np.array(right, dtype=float)
    tenth = np.minimum((values * 10).astype(int), 9)
    return [
        Bin(k / 10, int(own.sum()), float(values[own].mean()), float(labels[own].mean()))
        for k in range(10)
        if (own := tenth == k).any()
    ]


def figures(scores: Sequence[Sequence[float]], right: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """All of it, from the completions of each problem; an AUC is null where no pair can be compared."""
    flat_scores = [one for row in scores for one in row]
    flat_right = [one for row in right for one in row]
    is_mixed, has_both = any(0 < sum(r) < len(r) for r in right), 0 < sum(flat_right) < len(flat_right)
    hits = [(score > 0.5) == truth for score, truth in zip(flat_scores, flat_right, strict=True)]
    return {
        "problems": len(scores),
        "completions": len(flat_scores),
        "right": sum(flat_right) / len(flat_right),
        "auc": auc(flat_scores, flat_right) if has_both else None,
        "auc_within": auc_within(scores, right) if is_mixed else None,
        "accuracy": sum(hits) / len(hits),
        "brier": brier(flat_scores, flat_right),
        "reliability": [asdict(one) for one in reliability(flat_scores, flat_right)],
    }

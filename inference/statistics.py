"""Estimators for evaluations with several samples per problem, confidence intervals, and paired comparisons."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CHUNK = 1 << 20  # numbers drawn at once, which bounds the memory of resampling to megabytes


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, low <= mean <= high."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of a and b.

    difference  the mean of a - b over problems, with its interval
    p           two-sided p-value of the hypothesis that a and b do not differ, 0 < p <= 1
    """

    difference: Interval
    p: float


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate of pass@k, 1 - C(n - correct, k) / C(n, k) (arXiv 2107.03374, eq. 1).

    This is the probability that k of the n samples of a problem, drawn without replacement, contain a correct one.

    Raises:
        ValueError: k is not in 1..n, or `correct` is not in 0..n.
    """
    _check_drawn(k, n)
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be in 0..{n}, got {correct}")
    # Python divides integers of any size with a single rounding; 1 - x would lose a small probability.
    return (math.comb(n, k) - math.comb(n - correct, k)) / math.comb(n, k)


def majority_at_k(votes: Sequence[str | None], right: Container[str], k: int) -> float:
    """Return the expected accuracy of self-consistency with k samples (arXiv 2203.11171), 0..1.

    The expectation is exact over all subsets of k samples. The most frequent answer is given; a tie counts as the
    share of the tied answers that are correct.

    votes  the normalized answer of each sample; None abstains, and is drawn like any other sample
    right  the correct answers, of which there may be several

    Draw each sample independently with probability k/n. Then the answers have independent binomial numbers of
    votes, and conditional on k samples being drawn every subset of k is equally likely. The expected share is
    therefore a sum of convolutions, over the highest vote count and over the numbers of correct and wrong answers
    that reach it, divided by the probability that k samples are drawn.

    Raises:
        ValueError: k is not in 1..len(votes).
    """
    n = len(votes)
    _check_drawn(k, n)
    tally: dict[str, int] = {}
    for vote in votes:
        if vote is not None:
            tally[vote] = tally.get(vote, 0) + 1
    good = [count for answer, count in tally.items() if answer in right]
    bad = [count for answer, count in tally.items() if answer not in right]
    abstained = n - sum(good) - sum(bad)
    probability = k / n
    expected = 0.0
    for top in range(1, min(k, max(good, default=0)) + 1):
        above = _tied(good, 0, top, k, probability)
        below = _tied(bad, abstained, top, k, probability)
        shares = np.add.outer(np.arange(above.shape[1]), np.arange(below.shape[1])).astype(float)
        shares[0] = 1  # no correct answer has the highest count, so the numerator is 0
        shares = np.arange(above.shape[1])[:, None] / shares
        # above[u, i]: i correct answers have the highest count and u samples are drawn for correct answers; `below`
        # covers the other k - u samples.
        expected += float(np.sum((above[::-1].T @ below) * shares))
    return min(1.0, expected / float(_binomial(n, probability, k)[k]))


def _tied(counts: Sequence[int], free: int, top: int, k: int, probability: float) -> np.ndarray:
    """Return a table [u, i]: the probability that u = 0..k samples of these answers and of the `free` abstentions are
    drawn, i of the answers `top` times and none more often."""
    able = [count for count in counts if count >= top]
    table = np.zeros((k + 1, min(len(able), k // top) + 1))
    table[:, 0] = _binomial(free + sum(counts) - sum(able), probability, k)
    for count in able:
        drawn = _binomial(count, probability, top)
        grown = table * drawn[0]
        for times in range(1, top):
            grown[times:] += table[:-times] * drawn[times]
        grown[top:, 1:] += table[:-top, :-1] * drawn[top]
        table = grown
    return table


def _binomial(n: int, probability: float, most: int) -> np.ndarray:
    """Return the probabilities of 0..most successes in n trials, [most + 1]; computed by convolution, which cannot
    overflow."""
    mass = np.zeros(most + 1)
    mass[0] = 1
    for _ in range(n):
        mass[1:] = mass[1:] * (1 - probability) + mass[:-1] * probability
        mass[0] *= 1 - probability
    return mass


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion (Wilson, JASA 1927):
    (p + z^2 / 2n +- z * sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    It stays within 0..1 and remains informative near both ends.

    Raises:
        ValueError: n < 1, `successes` is not in 0..n, or `confidence` is not between 0 and 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0..n and n >= 1, got {successes} of {n}")
    _check_confidence(confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return Interval(max(0.0, min(low, share)), share, min(1.0, max(high, share)))


def bootstrap(values: Sequence[float], confidence: float = 0.95, seed: int = 0, resamples: int = 10_000) -> Interval:
    """Return the mean over problems and its percentile bootstrap interval (Efron 1979).

    Problems are resampled with replacement. If all values are equal, for example a single value, the interval has
    zero width and is not informative.

    Raises:
        ValueError: there are no values, a value is not finite, resamples < 1, or `confidence` is not between 0 and 1.
    """
    scores = _checked(values, confidence, resamples)
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [scores[random.integers(len(scores), size=size)].mean(axis=1) for size in _chunks(resamples, len(scores))]
    )
    mean = math.fsum(scores) / len(scores)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(min(float(low), mean), mean, max(float(high), mean))


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean and its 95% interval: `wilson` if all values are 0 or 1, else `bootstrap`.

    Raises:
        ValueError: there are no values, or a value is not finite.
    """
    if len(values) > 0 and all(value in (0, 1) for value in values):
        return wilson(round(sum(values)), len(values))
    return bootstrap(values)


def paired_bootstrap(
    a: Mapping[str, float], b: Mapping[str, float], confidence: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> Comparison:
    """Compare two evaluations of the same problems, given as problem key -> score.

    The interval of the mean difference a - b is a bootstrap interval. The p-value comes from a sign-flip permutation
    test (Fisher 1935): if a and b do not differ, both signs of each difference are equally likely. For scores 0 and 1
    this is McNemar's exact test. A p-value taken from the bootstrap means would call a difference on two problems
    out of two significant; the permutation test does not.

    Raises:
        ValueError: the problems differ, or an argument is refused by `bootstrap`.
    """
    for ours, theirs, name in ((a, b, "first"), (b, a, "second")):
        if alone := ours.keys() - theirs.keys():
            raise ValueError(f"both evaluations must have the same problems, got {min(alone)!r} only in the {name}")
    differences = [a[key] - b[key] for key in sorted(a)]
    return Comparison(
        bootstrap(differences, confidence, seed, resamples), _sign_flip_p(np.array(differences), seed, resamples)
    )


def _sign_flip_p(differences: np.ndarray, seed: int, resamples: int) -> float:
    """Return the share of sign flips whose mean is at least as far from 0 as the observed mean.

    All flips are enumerated if there are at most `resamples`. Otherwise `resamples` flips are drawn and the result is
    (1 + hits) / (1 + resamples), which is never 0.
    """
    moved = differences[differences != 0]
    # The order of summation changes the last digits, and a tie must count as a hit.
    observed = abs(float(moved.sum())) - 1e-9 * float(np.abs(moved).sum())
    if 2 ** len(moved) <= resamples:
        sums = np.zeros(1)
        for difference in moved:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= observed))
    random = np.random.default_rng(seed)
    hits = 0
    for size in _chunks(resamples, len(moved)):
        signs = 2 * random.integers(2, size=size, dtype=np.int8) - 1
        hits += int(np.sum(np.abs(signs @ moved) >= observed))
    return (1 + hits) / (1 + resamples)


def _chunks(resamples: int, n: int) -> Iterator[tuple[int, int]]:
    rows = max(1, CHUNK // n)
    for first in range(0, resamples, rows):
        yield min(rows, resamples - first), n


def _checked(values: Sequence[float], confidence: float, resamples: int) -> np.ndarray:
    scores = np.array(values, dtype=float)
    if len(scores) == 0 or not np.isfinite(scores).all():
        raise ValueError(f"at least one value is needed and all must be finite, got {len(scores)} values")
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}")
    _check_confidence(confidence)
    return scores


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")


def _check_drawn(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k must be in 1..{n}, the number of samples, got {k}")

"""What an evaluation with many samples a problem says, and how sure one may be of it."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CHUNK = 1 << 20  # numbers drawn at once: resampling takes megabytes, however many problems there are


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, low <= mean <= high."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The mean of a - b over problems; p: two-sided, of "a and b do not differ", 0 < p <= 1."""

    difference: Interval
    p: float


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of the n samples of a problem, drawn without replacement, hold a correct one:
    1 - C(n - correct, k) / C(n, k) (arXiv 2107.03374, eq. 1), an unbiased estimate of pass@k.

    Raises:
        ValueError: not 1 <= k <= n, or not 0 <= correct <= n.
    """
    _check_drawn(k, n)
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be in 0..{n}, got {correct}")
    # Whole numbers of any size: Python rounds their quotient once, so that a small chance is not lost in 1 - x.
    return (math.comb(n, k) - math.comb(n - correct, k)) / math.comb(n, k)


def majority_at_k(votes: Sequence[str | None], right: Container[str], k: int) -> float:
    """The expected accuracy of self-consistency with k samples (arXiv 2203.11171), exact over all subsets of
    k of the samples: the most frequent answer is given; of a tie each answer is as likely, so that it counts
    as the share of the tied answers that are right.

    votes: the answer of each sample, in a form in which equal answers are equal; None abstains, and is drawn
    like any other. right: the answers that are right, of which there may be several.

    Let each sample be drawn by itself with chance k/n. Then answers get independent binomial votes, and given
    that k samples are drawn in all, every subset of k is as likely. So E[share] is a sum of convolutions: over
    the top count t, over how many right and wrong answers reach it, divided by P(k drawn in all).

    Raises:
        ValueError: not 1 <= k <= len(votes).
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
    chance = k / n
    expected = 0.0
    for top in range(1, min(k, max(good, default=0)) + 1):
        above = _tied(good, 0, top, k, chance)
        below = _tied(bad, abstained, top, k, chance)
        shares = np.add.outer(np.arange(above.shape[1]), np.arange(below.shape[1])).astype(float)
        shares[0] = 1  # no right answer is at the top: 0 of any number
        shares = np.arange(above.shape[1])[:, None] / shares
        # above[u, i] right answers i at the top with u drawn; the k - u others are drawn below.
        expected += float(np.sum((above[::-1].T @ below) * shares))
    return min(1.0, expected / float(_binomial(n, chance, k)[k]))


def _tied(counts: Sequence[int], free: int, top: int, k: int, chance: float) -> np.ndarray:
    """[u, i]: the chance that these answers and the `free` abstentions are drawn u times, u = 0..k, with i of
    the answers drawn `top` times and none more often."""
    able = [count for count in counts if count >= top]
    table = np.zeros((k + 1, min(len(able), k // top) + 1))
    table[:, 0] = _binomial(free + sum(counts) - sum(able), chance, k)
    for count in able:
        drawn = _binomial(count, chance, top)
        grown = table * drawn[0]
        for times in range(1, top):
            grown[times:] += table[:-times] * drawn[times]
        grown[top:, 1:] += table[:-top, :-1] * drawn[top]
        table = grown
    return table


def _binomial(n: int, chance: float, most: int) -> np.ndarray:
    """[most + 1]: the chances of 0..most successes of n; by convolution, which nothing overflows."""
    mass = np.zeros(most + 1)
    mass[0] = 1
    for _ in range(n):
        mass[1:] = mass[1:] * (1 - chance) + mass[:-1] * chance
        mass[0] *= 1 - chance
    return mass


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share (Wilson, JASA 1927), which keeps to 0..1 and its width near both ends:
    (p + z^2 / 2n +- z * sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    Raises:
        ValueError: n < 1, not 0 <= successes <= n, or not 0 < confidence < 1.
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
    """The mean of the scores of problems and its percentile interval (Efron 1979): problems are drawn again with
    replacement. Equal values, a single one among them, have an interval of no width: it says nothing then.

    Raises:
        ValueError: no values, one that is not finite, resamples < 1, or not 0 < confidence < 1.
    """
    scores = _checked(values, confidence, resamples)
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [scores[random.integers(len(scores), size=size)].mean(axis=1) for size in _chunks(resamples, len(scores))]
    )
    mean = math.fsum(scores) / len(scores)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(min(float(low), mean), mean, max(float(high), mean))


def mean_interval(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Interval:
    """`wilson` of scores that are all 0 or 1, else `bootstrap`; raises what these raise."""
    if len(values) > 0 and all(value in (0, 1) for value in values):
        return wilson(round(sum(values)), len(values), confidence)
    return bootstrap(values, confidence, seed)


def paired_bootstrap(
    a: Mapping[str, float], b: Mapping[str, float], confidence: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> Comparison:
    """Two evaluations of the same problems, problem key -> score: the mean difference a - b with its bootstrap
    interval, and a p-value by flipping the signs of differences (Fisher 1935): were a and b alike, each
    difference would as well have the other sign. Of scores 0 and 1 that is McNemar's exact test. A p-value
    read from the resampled means would call two problems out of two significant; this one does not.

    Raises:
        ValueError: the problems are not the same, or what `bootstrap` raises.
    """
    for ours, theirs, name in ((a, b, "first"), (b, a, "second")):
        if alone := ours.keys() - theirs.keys():
            raise ValueError(f"both must be over the same problems, got {min(alone)!r} in the {name} alone")
    differences = [a[key] - b[key] for key in sorted(a)]
    return Comparison(
        bootstrap(differences, confidence, seed, resamples), _sign_flip_p(np.array(differences), seed, resamples)
    )


def _sign_flip_p(differences: np.ndarray, seed: int, resamples: int) -> float:
    """The share of sign flips whose mean is as far from 0 as the one seen: of all of them where these are no
    more than `resamples`, else (1 + those of the drawn) / (1 + drawn), which is never 0."""
    moved = differences[differences != 0]
    # Sums in another order differ in the last digits, and a tie counts.
    seen = abs(float(moved.sum())) - 1e-9 * float(np.abs(moved).sum())
    if 2 ** len(moved) <= resamples:
        sums = np.zeros(1)
        for difference in moved:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= seen))
    random = np.random.default_rng(seed)
    far = 0
    for size in _chunks(resamples, len(moved)):
        signs = 2 * random.integers(2, size=size, dtype=np.int8) - 1
        far += int(np.sum(np.abs(signs @ moved) >= seen))
    return (1 + far) / (1 + resamples)


def _chunks(resamples: int, n: int) -> Iterator[tuple[int, int]]:
    rows = max(1, CHUNK // n)
    for first in range(0, resamples, rows):
        yield min(rows, resamples - first), n


def _checked(values: Sequence[float], confidence: float, resamples: int) -> np.ndarray:
    scores = np.array(values, dtype=float)
    if len(scores) == 0 or not np.isfinite(scores).all():
        raise ValueError(f"values must be finite and at least one, got {len(scores)} values")
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

import math
import time
from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from inference.statistics import (
    Interval,
    bootstrap,
    majority_at_k,
    mean_interval,
    paired_bootstrap,
    pass_at_k,
    wilson,
)


def test_pass_at_k_by_hand():
    # 2 of 5 samples are correct; 3 drawn samples miss both in C(3, 3) = 1 of C(5, 3) = 10 ways.
    assert pass_at_k(5, 2, 3) == 0.9
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_at_k(4, 1, 4) == 1.0  # all samples are drawn
    assert pass_at_k(4, 3, 2) == 1.0  # at most one of two samples is wrong
    assert pass_at_k(4, 0, 4) == 0.0


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_equals_the_share_of_subsets_with_a_correct_sample(n):
    for correct, k in product(range(n + 1), range(1, n + 1)):
        subsets = list(combinations([True] * correct + [False] * (n - correct), k))
        assert pass_at_k(n, correct, k) == float(Fraction(sum(map(any, subsets)), len(subsets)))


def test_pass_at_k_is_unbiased():
    # n = 6 samples, each correct with probability 0.3: sum over c of P(c) * pass_at_k(6, c, 4) = 1 - 0.7^4.
    mass = [math.comb(6, c) * 0.3**c * 0.7 ** (6 - c) for c in range(7)]
    found = sum(p * pass_at_k(6, c, 4) for c, p in enumerate(mass))
    assert found == pytest.approx(1 - 0.7**4, abs=1e-12)


def test_pass_at_k_is_precise_for_thousands_of_samples():
    assert pass_at_k(10_000, 1, 1) == 1e-4
    assert 0.999 < pass_at_k(10_000, 5000, 10) < 1


@pytest.mark.parametrize(
    ("n", "correct", "k", "message"),
    [
        (4, 1, 0, "k must be in 1..4, the number of samples, got 0"),
        (4, 1, 5, "k must be in 1..4"),
        (0, 0, 1, "k must be in 1..0"),
        (4, -1, 2, "correct must be in 0..4, got -1"),
        (4, 5, 2, "correct must be in 0..4, got 5"),
    ],
)
def test_pass_at_k_refuses_invalid_counts(n, correct, k, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(n, correct, k)


def test_majority_by_hand():
    # Votes a a b, a is correct. Of two drawn: aa is correct; ab, twice, is a tie that counts half: 2/3.
    assert majority_at_k(["a", "a", "b"], {"a"}, 2) == pytest.approx(2 / 3)
    assert majority_at_k(["a", "a", "b"], {"b"}, 2) == pytest.approx(1 / 3)
    assert majority_at_k(["a", "a", "b"], {"a"}, 3) == pytest.approx(1)
    assert majority_at_k(["a", "a", "b"], {"a"}, 1) == pytest.approx(2 / 3)  # one vote: the pass rate
    # a and b are correct, c is not: each of the three drawn has one vote, and two of the three tied are correct.
    assert majority_at_k(["a", "b", "c"], {"a", "b"}, 3) == pytest.approx(2 / 3)


def test_a_sample_without_an_answer_abstains():
    # Of two drawn: with a and None the single vote wins, with None twice there is no answer: 2 of 3.
    assert majority_at_k(["a", None, None], {"a"}, 2) == pytest.approx(2 / 3)
    assert majority_at_k([None, None], {"a"}, 2) == 0
    assert majority_at_k([None, None], {"a", None}, 2) == 0


def brute_majority(votes, right, k):
    total = Fraction(0)
    subsets = list(combinations(votes, k))
    for subset in subsets:
        tally = Counter(vote for vote in subset if vote is not None)
        tied = [answer for answer, count in tally.items() if count == max(tally.values())]
        if tied:
            total += Fraction(sum(answer in right for answer in tied), len(tied))
    return float(total / len(subsets))


@pytest.mark.parametrize("seed", range(25))
def test_majority_equals_the_mean_over_all_subsets(seed):
    random = np.random.default_rng(seed)
    votes = [["a", "b", "c", "d", "e", None][index] for index in random.integers(6, size=random.integers(1, 10))]
    right = {answer for answer in "abcde" if random.random() < 0.4}
    for k in range(1, len(votes) + 1):
        assert majority_at_k(votes, right, k) == pytest.approx(brute_majority(votes, right, k), abs=1e-12)


def test_majority_does_not_depend_on_the_order_of_votes():
    votes = ["a", "b", "a", None, "c", "c"]
    assert majority_at_k(votes, {"a"}, 4) == pytest.approx(majority_at_k(votes[::-1], {"a"}, 4), abs=1e-14)


def test_majority_of_many_samples_is_exact_and_fast():
    # Two answers with 600 and 400 votes and an odd k: the first wins if it has more than half of the drawn votes.
    k = 101
    wins = sum(math.comb(600, c) * math.comb(400, k - c) for c in range(51, k + 1))
    start = time.process_time()
    found = majority_at_k(["a"] * 600 + ["b"] * 400, {"a"}, k)
    assert found == pytest.approx(wins / math.comb(1000, k), abs=1e-10)
    assert majority_at_k(["a"] * 40 + [str(i // 2) for i in range(216)], {"a"}, 256) == pytest.approx(1)
    assert time.process_time() - start < 30


def test_majority_refuses_more_samples_than_votes():
    with pytest.raises(ValueError, match=r"k must be in 1..2, the number of samples, got 3"):
        majority_at_k(["a", "b"], {"a"}, 3)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # 8 of 10, z = 1.96: (0.8 + 0.19207 +- 1.96 * sqrt(0.016 + 0.009604)) / 1.38415 = (0.99207 +- 0.31362) / 1.38415
        (8, 10, 0.49016, 0.94332),
        (0, 10, 0.0, 0.27753),  # z^2 / (n + z^2)
        (10, 10, 0.72247, 1.0),
        (1, 1, 0.20655, 1.0),
        (50, 100, 0.40383, 0.59617),
    ],
)
def test_wilson_by_hand(successes, n, low, high):
    found = wilson(successes, n)
    assert found.mean == successes / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-5)


def test_wilson_contains_the_mean_and_stays_within_0_and_1():
    for n in (1, 3, 7, 512):
        for successes in range(n + 1):
            found, wider = wilson(successes, n), wilson(successes, n, 0.99)
            assert 0 <= wider.low <= found.low <= found.mean <= found.high <= wider.high <= 1


def test_wilson_coverage_is_close_to_nominal():
    for probability in (0.05, 0.3, 0.5):
        mass = [math.comb(60, c) * probability**c * (1 - probability) ** (60 - c) for c in range(61)]
        covered = sum(m for c, m in enumerate(mass) if wilson(c, 60).low <= probability <= wilson(c, 60).high)
        assert 0.92 < covered < 0.98


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 4), (5, 4), (1, 4, 1.0), (1, 4, 0.0)])
def test_wilson_refuses_invalid_arguments(arguments):
    with pytest.raises(ValueError, match="must be"):
        wilson(*arguments)


def test_bootstrap_of_two_values_by_hand():
    # Two draws from 0 and 1: the mean is 0, 0.5 or 1 with probability 1/4, 1/2, 1/4. The 95% interval is 0..1; the
    # 40% interval cuts 30% off at each end, so that both ends are 0.5.
    assert bootstrap([0, 1]) == Interval(0.0, 0.5, 1.0)
    assert bootstrap([0, 1], confidence=0.4) == Interval(0.5, 0.5, 0.5)


def test_bootstrap_against_all_resamples():
    values = [0.0, 0.25, 0.5, 0.5, 1.0]
    means = sorted(sum(drawn) / 5 for drawn in product(values, repeat=5))
    found = bootstrap(values, confidence=0.9, resamples=50_000)
    assert found.mean == pytest.approx(0.45)
    low, high = means[round(0.05 * len(means))], means[round(0.95 * len(means))]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)  # means are discrete, in steps of 0.05


def test_bootstrap_approaches_the_normal_interval():
    values = np.random.default_rng(1).random(2000)
    found = bootstrap(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(2000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_bootstrap_is_determined_by_its_seed():
    values = np.random.default_rng(2).random(30)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_bootstrap_of_one_value_has_no_width():
    assert bootstrap([0.3]) == Interval(0.3, 0.3, 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one value is needed .* got 0 values"),
        (([0.5, float("nan")],), "all must be finite"),
        (([0.5], 1.5), "confidence must be between 0 and 1, got 1.5"),
        (([0.5], 0.95, 0, 0), "resamples must be >= 1, got 0"),
    ],
)
def test_bootstrap_refuses_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(*arguments)


def test_the_interval_of_zeros_and_ones_is_the_wilson_interval():
    assert mean_interval([1.0, 0.0, True, False]) == wilson(2, 4)
    assert mean_interval([1.0, 0.5]) == bootstrap([1.0, 0.5])
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def scored(scores):
    return {f"problem {index}": score for index, score in enumerate(scores)}


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "p"),
    [
        # McNemar: the share of all sign assignments of the differing problems that are at least as uneven.
        (3, 0, 2, 2 / 8),
        (5, 1, 0, 2 * (1 + 6) / 64),
        (4, 4, 1, 1.0),
        (10, 0, 5, 2 / 1024),
        (0, 0, 4, 1.0),
    ],
)
def test_p_of_zeros_and_ones_equals_mcnemar(wins, losses, ties, p):
    a = scored([1] * wins + [0] * losses + [1] * ties)
    b = scored([0] * wins + [1] * losses + [1] * ties)
    found = paired_bootstrap(a, b)
    assert found.p == pytest.approx(p)
    assert found.difference.mean == pytest.approx((wins - losses) / (wins + losses + ties))
    back = paired_bootstrap(b, a)
    assert back.p == found.p and back.difference.mean == -found.difference.mean


def test_p_of_other_scores_counts_tied_sums():
    # Differences 0.1, 0.2, -0.3 sum to 0, and all 8 flips are at least as far from 0. Of 0.1, 0.2, 0.3 only +++ and
    # --- reach 0.6.
    assert paired_bootstrap(scored([0.1, 0.2, 0]), scored([0, 0, 0.3])).p == 1.0
    assert paired_bootstrap(scored([0.1, 0.2, 0.3]), scored([0, 0, 0])).p == 2 / 8
    # 0.3 0.1 -0.1 -0.1 sum to 0.2. Only the sign assignments +--- and -+++ have a smaller absolute sum: 14 of 16,
    # although some of the 14 sums differ from 0.2 in the last digit.
    assert paired_bootstrap(scored([0.3, 0.1, 0, 0]), scored([0, 0, 0.1, 0.1])).p == 14 / 16


def test_sampled_p_of_many_differences_is_close_to_the_exact_p():
    # 30 problems differ, 20 to 10: 2 * P(at least 20 heads of 30) = 0.09874
    exact = 2 * sum(math.comb(30, c) for c in range(20, 31)) / 2**30
    found = paired_bootstrap(scored([1] * 20 + [0] * 10), scored([0] * 20 + [1] * 10), resamples=40_000)
    assert found.p == pytest.approx(exact, abs=0.006)  # four standard errors
    assert paired_bootstrap(scored([1] * 40), scored([0] * 40), resamples=999).p == 1 / 1000  # never 0


def test_the_interval_of_a_difference_is_the_bootstrap_of_the_differences():
    a, b = scored([1, 0.5, 0, 1]), scored([0.5, 0.5, 0.25, 0])
    assert paired_bootstrap(a, b, 0.9, 7).difference == bootstrap([0.5, 0, -0.25, 1], 0.9, 7)


def test_the_paired_interval_is_narrower_than_two_separate_ones():
    random = np.random.default_rng(0)
    ease = random.random(300)
    a, b = scored(ease), scored(ease - 0.02 + 0.01 * random.random(300))
    found = paired_bootstrap(a, b, resamples=2000)
    assert found.difference.low > 0 and found.p < 0.001
    assert bootstrap(list(a.values())).low < math.fsum(b.values()) / 300  # unpaired intervals overlap


def test_pairs_are_matched_by_key():
    a = scored([1, 0, 1, 1])
    assert paired_bootstrap(a, dict(reversed(a.items()))).difference == Interval(0, 0, 0)
    b = scored([0, 0.5, 0, 0])
    assert paired_bootstrap(a, b) == paired_bootstrap(dict(reversed(a.items())), b)


def test_evaluations_of_different_problems_are_refused():
    a, b = {"x": 1.0, "y": 0.0}, {"x": 1.0, "z": 0.0}
    with pytest.raises(ValueError, match="^both evaluations must have the same problems, got 'y' only in the first$"):
        paired_bootstrap(a, b)
    with pytest.raises(ValueError, match="'y' only in the second"):
        paired_bootstrap({"x": 1.0}, a)
    with pytest.raises(ValueError, match="at least one"):
        paired_bootstrap({}, {})

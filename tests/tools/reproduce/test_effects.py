import math

import numpy as np
import pytest

from tools.reproduce.effects import Effect, Verdict, combine, decide, estimate_effect


def effect(low, high):
    return Effect((low + high) / 2, low, high, 0.5, 5, 3, 100, (low, high))


def test_an_effect_has_the_mean_of_each_seed():
    assert estimate_effect(np.array([[0.0, 1.0], [1.0, 2.0]])).by_seed == (0.5, 1.5)


def test_the_interval_of_one_seed_is_over_problems():
    # Mean 1/2, variance 1/3, so the error is sqrt(1/12); t(0.975, 3) = 3.1824. With t = sqrt(3), p is 1/2 - 1/pi.
    found = estimate_effect(np.array([[0.0, 1.0, 0.0, 1.0]]))
    assert found.mean == 0.5 and found.freedom == 3 and (found.seeds, found.problems) == (1, 4)
    assert found.high - found.mean == pytest.approx(3.1824 / math.sqrt(12), abs=1e-4)
    assert found.p == pytest.approx(0.5 - 1 / math.pi)


def test_the_interval_of_a_cost_is_over_seeds():
    # Mean 2, variance 1, error 1 / sqrt(3); t(0.975, 2) = 4.3027.
    found = estimate_effect(np.array([[1.0], [2.0], [3.0]]))
    assert found.mean == 2 and found.freedom == 2
    assert found.mean - found.low == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_the_interval_covers_seeds_and_problems():
    # Seed means 2 and 6: MS 16. Problem means 3 and 5: MS 4. No rest. Variance of the mean (16 + 4 - 0) / 4 = 5 with
    # one degree of freedom; t(0.975, 1) = 12.7062.
    found = estimate_effect(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert found.mean == 4 and found.freedom == 1
    assert found.high - found.mean == pytest.approx(12.7062 * math.sqrt(5), abs=1e-3)


def test_what_seeds_and_problems_do_not_explain_is_not_lost():
    # All means are equal, so the mean squares of seeds and problems are 0, and that of the rest is 4 * 0.25 / 1 = 1.
    found = estimate_effect(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert found.mean == 0.5 and found.high - found.mean == pytest.approx(12.7062 * 0.5, abs=1e-3)


def test_seeds_that_disagree_widen_the_interval_beyond_that_of_the_problems():
    random = np.random.default_rng(0)
    values = random.normal(size=(1, 500)) + 0.3 * random.normal(size=(3, 500))
    alike, apart = estimate_effect(values), estimate_effect(values + np.array([[-0.5], [0.0], [0.5]]))
    assert apart.mean == pytest.approx(alike.mean) and apart.freedom == alike.freedom == 2
    assert apart.high - apart.low > 5 * (alike.high - alike.low)


@pytest.mark.parametrize("confidence", [0.95, 0.994])
@pytest.mark.parametrize("seed_variance", [0.0, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("problem_variance", [0.0, 1.0])
def test_intervals_contain_the_mean_as_often_as_they_claim(confidence, seed_variance, problem_variance):
    """Whatever the variance between seeds: it is given in units of what the completions of a seed contribute, 1/60."""
    random, inside, draws = np.random.default_rng(1), 0, 1000
    for _ in range(draws):
        seed_effect = random.normal(size=(3, 1)) * math.sqrt(seed_variance / 60)
        problem_effect = random.normal(size=(1, 60)) * math.sqrt(problem_variance)
        found = estimate_effect(seed_effect + problem_effect + random.normal(size=(3, 60)), confidence)
        inside += found.low <= 0 <= found.high
    assert inside / draws >= confidence - 2 * math.sqrt(confidence * (1 - confidence) / draws)


def test_a_single_value_has_no_interval_and_decides_nothing():
    found = estimate_effect(np.array([[0.7]]))
    assert (found.mean, found.low, found.p) == (0.7, None, None)
    assert decide(found, found, 0.1) is Verdict.UNDECIDED


def test_equal_values_have_an_interval_of_no_width():
    found = estimate_effect(np.zeros((2, 10)))
    assert (found.low, found.high, found.p) == (0.0, 0.0, 1.0)


def test_a_higher_confidence_widens_the_interval():
    values = np.array([[1.0], [2.0], [3.0]])
    assert estimate_effect(values, 0.99).high > estimate_effect(values, 0.95).high


@pytest.mark.parametrize(
    ("low", "high", "at_least", "verdict"),
    [
        (0.06, 0.2, 0.05, Verdict.HOLDS),
        (0.05, 0.2, 0.05, Verdict.HOLDS),
        (0.04, 0.2, 0.05, Verdict.UNDECIDED),
        (0.01, 0.04, 0.05, Verdict.REFUTED),  # different from 0, and too small
        (-0.04, 0.01, -0.05, Verdict.HOLDS),  # a loss of up to 5 points is allowed
        (-0.2, -0.06, -0.05, Verdict.REFUTED),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_smallest_effect(low, high, at_least, verdict):
    assert decide(effect(low, high), effect(low, high), at_least) is verdict


def test_what_refutes_is_the_wide_interval():
    narrow, wide = effect(0.01, 0.04), effect(-0.01, 0.06)
    assert decide(narrow, wide, 0.05) is Verdict.UNDECIDED and decide(narrow, wide, 0.07) is Verdict.REFUTED
    assert decide(narrow, wide, 0.01) is Verdict.HOLDS


def test_counts_without_variation_decide_nothing():
    for found, at_least in ((estimate_effect(np.zeros((3, 40))), 0.01), (estimate_effect(np.ones((1, 3))), 0.5)):
        assert decide(found, found, at_least) is Verdict.UNDECIDED


@pytest.mark.parametrize("seeds", [1, 3])
def test_shares_without_variation_have_the_interval_of_what_no_problem_has_shown(seeds):
    # Of 40 problems none differs: a share of 1 - 0.025^(1/40) = 1 - exp(-3.689 / 40) would show none with 2.5%.
    found = estimate_effect(np.zeros((seeds, 40)), are_shares=True)
    assert (found.low, found.high) == pytest.approx((-0.0881, 0.0881), abs=1e-4) and found.p == 1
    assert decide(found, found, 0.01) is Verdict.UNDECIDED and decide(found, found, -0.1) is Verdict.HOLDS
    many = estimate_effect(np.zeros((seeds, 512)), are_shares=True)
    assert decide(many, many, 0.01) is Verdict.REFUTED
    one = estimate_effect(np.ones((seeds, 40)), 0.99, are_shares=True)
    assert one.low == pytest.approx(0.005 ** (1 / 40)) and one.p == 0


def test_shares_that_vary_have_the_interval_of_other_values():
    values = np.array([[0.0, 1.0, 0.0, 1.0]])
    assert estimate_effect(values, are_shares=True) == estimate_effect(values)


def test_a_bound_on_the_effect_decides_in_one_direction_only():
    large, small = effect(1.0, 2.0), effect(0.0, 0.1)
    assert decide(large, large, 0.5, is_lower_bound=True) is Verdict.HOLDS
    assert decide(small, small, 0.5, is_lower_bound=True) is Verdict.UNDECIDED  # it may be larger
    assert decide(large, large, 0.5, is_upper_bound=True) is Verdict.UNDECIDED  # it may be smaller
    assert decide(small, small, 0.5, is_upper_bound=True) is Verdict.REFUTED


H, R, U, N = Verdict.HOLDS, Verdict.REFUTED, Verdict.UNDECIDED, Verdict.NOT_RUN


@pytest.mark.parametrize(
    ("verdicts", "all_of_them", "any_of_them"),
    [
        ([H, H], H, H),
        ([H, U], U, H),
        ([H, R], R, H),
        ([R, U], R, U),
        ([R, R], R, R),
        ([U, U], U, U),
        ([H, N], N, N),
    ],
)
def test_a_claim_of_several_comparisons(verdicts, all_of_them, any_of_them):
    assert combine(verdicts, "all") is all_of_them
    assert combine(verdicts, "any") is any_of_them

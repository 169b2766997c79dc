import random

import pytest

from inference.calibration import Bin, auc, auc_within, brier, figures, reliability


def pairs_won(scores, right):
    """The definition: over all pairs of a right and a wrong one."""
    won = [
        (a > b) + 0.5 * (a == b)
        for a, good in zip(scores, right, strict=True)
        for b, bad in zip(scores, right, strict=True)
        if good and not bad
    ]
    return sum(won) / len(won)


@pytest.mark.parametrize("seed", range(50))
def test_the_auc_is_the_share_of_pairs_won_ties_too(seed):
    rng = random.Random(seed)
    right = [True, False, *(rng.random() < 0.3 for _ in range(rng.randrange(30)))]
    scores = [rng.choice([0.1, 0.2, 0.5, 0.9, rng.random()]) for _ in right]
    assert auc(scores, right) == pytest.approx(pairs_won(scores, right))


def test_the_auc_by_hand():
    # Right ones 0.9 and 0.4, wrong ones 0.4 and 0.1: of four pairs three are won and one is a tie.
    assert auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    with pytest.raises(ValueError, match="got 2 right and 0 wrong"):
        auc([0.1, 0.2], [True, True])


def test_knowing_which_problems_are_easy_does_not_help_within_a_problem():
    # One easy problem with high scores, one hard one with low scores, the scores within each all equal.
    scores, right = [[0.9] * 4, [0.1] * 4], [[True, True, True, False], [False, False, False, True]]
    assert auc([*scores[0], *scores[1]], [*right[0], *right[1]]) == pytest.approx(0.75)
    assert auc_within(scores, right) == pytest.approx(0.5)


def test_a_problem_counts_by_its_pairs():
    # One pair won, then 2 * 1 pairs of which none is; a problem without wrong completions has no pair.
    scores, right = [[0.8, 0.2], [0.1, 0.2, 0.9], [0.3, 0.4]], [[True, False], [True, True, False], [True, True]]
    assert auc_within(scores, right) == pytest.approx(1 / 3)


def test_the_brier_score_by_hand():
    assert brier([0.8, 0.4], [True, False]) == pytest.approx((0.04 + 0.16) / 2)


def test_the_bins_of_the_reliability_by_hand():
    bins = reliability([0.05, 0.95, 1.0, 0.92], [False, True, True, False])
    assert bins == [Bin(0.0, 1, pytest.approx(0.05), 0.0), Bin(0.9, 3, pytest.approx(2.87 / 3), pytest.approx(2 / 3))]


def test_the_figures_say_where_nothing_can_be_compared():
    found = figures([[0.9, 0.6], [0.2]], [[True, True], [False]])
    assert (found["problems"], found["completions"], found["auc"], found["auc_within"]) == (2, 3, 1.0, None)
    assert found["accuracy"] == 1.0 and found["right"] == pytest.approx(2 / 3)
    assert figures([[0.3]], [[True]])["auc"] is None

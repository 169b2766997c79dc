import random

import pytest

from inference.calibration import ReliabilityBin, auc, auc_within, brier, calibration, reliability


def pairs_won(scores, right):
    """The definition of AUC, computed over all pairs of a correct and a wrong completion."""
    won = [
        (a > b) + 0.5 * (a == b)
        for a, good in zip(scores, right, strict=True)
        for b, bad in zip(scores, right, strict=True)
        if good and not bad
    ]
    return sum(won) / len(won)


@pytest.mark.parametrize("seed", range(50))
def test_auc_is_the_share_of_pairs_won_with_ties_counted_half(seed):
    rng = random.Random(seed)
    right = [True, False, *(rng.random() < 0.3 for _ in range(rng.randrange(30)))]
    scores = [rng.choice([0.1, 0.2, 0.5, 0.9, rng.random()]) for _ in right]
    assert auc(scores, right) == pytest.approx(pairs_won(scores, right))


def test_auc_by_hand():
    # Correct 0.9 and 0.4, wrong 0.4 and 0.1: of the four pairs three are won and one is a tie.
    assert auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    with pytest.raises(ValueError, match="got 2 correct and 0 wrong"):
        auc([0.1, 0.2], [True, True])


def test_recognizing_easy_problems_does_not_raise_auc_within():
    # An easy problem with high scores and a hard problem with low scores; the scores of each problem are equal.
    scores, right = [[0.9] * 4, [0.1] * 4], [[True, True, True, False], [False, False, False, True]]
    assert auc([*scores[0], *scores[1]], [*right[0], *right[1]]) == pytest.approx(0.75)
    assert auc_within(scores, right) == pytest.approx(0.5)


def test_problems_are_weighted_by_their_pairs():
    # The first problem wins its only pair, the second none of its 2 * 1; the third has no wrong completion, so no pair.
    scores, right = [[0.8, 0.2], [0.1, 0.2, 0.9], [0.3, 0.4]], [[True, False], [True, True, False], [True, True]]
    assert auc_within(scores, right) == pytest.approx(1 / 3)


def test_brier_score_by_hand():
    assert brier([0.8, 0.4], [True, False]) == pytest.approx((0.04 + 0.16) / 2)


def test_reliability_bins_by_hand():
    bins = reliability([0.05, 0.95, 1.0, 0.92], [False, True, True, False])
    assert bins == [
        ReliabilityBin(0.0, 1, pytest.approx(0.05), 0.0),
        ReliabilityBin(0.9, 3, pytest.approx(2.87 / 3), pytest.approx(2 / 3)),
    ]


def test_auc_is_none_without_pairs_to_compare():
    found = calibration([[0.9, 0.6], [0.2]], [[True, True], [False]])
    assert (found.problems, found.completions, found.auc, found.auc_within) == (2, 3, 1.0, None)
    assert found.accuracy == 1.0 and found.right == pytest.approx(2 / 3)
    assert calibration([[0.3]], [[True]]).auc is None

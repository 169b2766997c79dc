import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from inference.difficulty import (
    Choice,
    accuracy_by_level,
    compute_optimal,
    fold,
    levels,
    oracle_bins,
    predicted_bins,
)
from inference.statistics import bootstrap, wilson

KEYS = [f"problem {place}" for place in range(40)]
FIRST, SECOND = ([key for key in KEYS if fold(key) == half] for half in (0, 1))
ONE_LEVEL = dict.fromkeys(KEYS, 1)


def test_levels_go_from_easy_to_hard_in_equal_parts():
    ease = {key: 1 - place / 10 for place, key in enumerate(KEYS[:10])}
    found = levels(ease)
    assert [found[key] for key in KEYS[:10]] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert Counter(levels({key: 0.1 for key in KEYS[:12]}).values()) == {1: 3, 2: 2, 3: 3, 4: 2, 5: 2}


def test_oracle_bins_rank_by_the_share_of_correct_samples():
    # 2 of 2 is easier than 3 of 4, that than 2 of 4: the share counts, not the number
    samples = {
        "d": [True, False, False, False],
        "a": [True, True],
        "c": [True, True, False, False],
        "e": [False],
        "b": [True, True, True, False],
    }
    assert oracle_bins(samples) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def test_predicted_bins_rank_by_the_score_alone():
    assert predicted_bins({"a": -3, "b": 7.5, "c": 0, "d": 0.1, "e": -1}) == {"b": 1, "d": 2, "c": 3, "e": 4, "a": 5}


def test_tied_problems_fall_the_same_way_in_any_order():
    ease = dict.fromkeys(KEYS, 0.0)
    assert levels(ease) == levels(dict(reversed(ease.items())))


def test_the_level_of_tied_problems_says_nothing_about_their_fold():
    keys = [str(place) for place in range(5000)]
    found = levels(dict.fromkeys(keys, 0.0))
    for level in range(1, 6):
        share = np.mean([fold(key) for key in keys if found[key] == level])
        assert share == pytest.approx(0.5, abs=0.06)  # four standard errors of 1000


def test_too_few_problems_and_those_without_a_number_are_refused():
    with pytest.raises(ValueError, match="5 levels of difficulty take at least 5 problems, got 4"):
        predicted_bins(dict.fromkeys("abcd", 0.0))
    with pytest.raises(ValueError, match="must be a number, got nan for 'c'"):
        predicted_bins(dict.fromkeys("abde", 0.0) | {"c": float("nan")})
    with pytest.raises(ValueError, match="at least one sample, got none for 'c'"):
        oracle_bins(dict.fromkeys("abde", [True]) | {"c": []})


def test_the_fold_is_that_of_the_key_in_every_process():
    program = "from inference.difficulty import fold; print(*[fold(f'problem {i}') for i in range(40)])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [int(half) for half in printed.split()] == [fold(key) for key in KEYS]
    assert 10 < len(FIRST) < 30


def flat(correct, tokens, keys=KEYS):
    return {key: (correct, tokens) for key in keys}


def test_each_level_gets_its_best_strategy():
    # Easy problems: wide 0.9, deep 0.6. Hard ones: wide 0.1, deep 0.4. 20 problems each: (0.9 + 0.4) / 2
    easy, hard = KEYS[:20], KEYS[20:]
    bins = dict.fromkeys(easy, 1) | dict.fromkeys(hard, 5)
    results = {
        "wide": flat(0.9, 100, easy) | flat(0.1, 100, hard),
        "deep": flat(0.6, 200, easy) | flat(0.4, 200, hard),
    }
    (found,) = compute_optimal(results, bins, [200])
    assert {(choice.level, choice.measured_on): choice.strategy for choice in found.choices} == {
        (1, 0): "wide",
        (1, 1): "wide",
        (5, 0): "deep",
        (5, 1): "deep",
    }
    assert found.accuracy == pytest.approx(0.65) and found.tokens == pytest.approx(150)


def test_the_half_that_is_measured_has_no_part_in_the_choice():
    # `lucky` is perfect on the first half and fails on the second, `other` the reverse, `even` is at 0.4 on both.
    # A choice on the measured half, or on both, would reach 1 or 0.5; each half here chooses what fails the other.
    results = {
        "lucky": flat(1.0, 10, FIRST) | flat(0.0, 10, SECOND),
        "other": flat(0.0, 10, FIRST) | flat(1.0, 10, SECOND),
        "even": flat(0.4, 10),
    }
    (found,) = compute_optimal(results, ONE_LEVEL, [10])
    assert found.choices == (
        Choice(1, 0, "other", len(FIRST), 0.0, 10.0),
        Choice(1, 1, "lucky", len(SECOND), 0.0, 10.0),
    )
    assert found.accuracy == 0 and all(correct == 0 for correct, _ in found.outcomes.values())


def test_whatever_the_measured_half_holds_the_choice_stays():
    random = np.random.default_rng(0)
    results = {name: {key: (float(random.integers(2)), 10.0) for key in KEYS} for name in "abcdef"}
    (before,) = compute_optimal(results, ONE_LEVEL, [10])
    for name, outcomes in results.items():
        changed = results | {name: outcomes | flat(1.0, 1.0, FIRST)}
        (after,) = compute_optimal(changed, ONE_LEVEL, [10])
        assert after.choices[0].strategy == before.choices[0].strategy  # measured on the first half
        assert after.choices[1].strategy == name  # chosen on it


def test_chance_alone_gains_nothing():
    # 50 strategies that guess: the best of them on its own half is far above 0.5, on the other it is not.
    random = np.random.default_rng(1)
    keys = [str(place) for place in range(1000)]
    results = {str(name): {key: (float(random.integers(2)), 10.0) for key in keys} for name in range(50)}
    bins = levels({key: random.random() for key in keys})
    (found,) = compute_optimal(results, bins, [10])
    picked = [np.mean([results[c.strategy][key][0] for key in keys if bins[key] == c.level]) for c in found.choices]
    assert np.mean(picked) > 0.55  # the bias that would be reported without two halves
    assert found.accuracy == pytest.approx(0.5, abs=0.064)  # four standard errors of 1000 problems


def test_a_budget_bounds_the_tokens():
    results = {"small": flat(0.2, 10), "medium": flat(0.5, 50), "large": flat(0.8, 250)}
    found = compute_optimal(results, ONE_LEVEL, [10, 49.9, 50, 1000])
    assert [one.budget for one in found] == [10, 49.9, 50, 1000]
    assert [one.choices[0].strategy for one in found] == ["small", "small", "medium", "large"]
    assert [one.accuracy for one in found] == pytest.approx([0.2, 0.2, 0.5, 0.8])
    assert [one.tokens for one in found] == pytest.approx([10, 10, 50, 250])


def test_the_budget_is_that_of_the_choosing_half():
    # `long` takes 10 tokens on the first half and 90 on the second: within 50 for the first alone, which
    # therefore chooses it for the second.
    results = {"long": flat(1.0, 10, FIRST) | flat(1.0, 90, SECOND), "short": flat(0.5, 20)}
    (found,) = compute_optimal(results, ONE_LEVEL, [50])
    assert [choice.strategy for choice in found.choices] == ["short", "long"]
    assert [choice.tokens for choice in found.choices] == [20, 90]


def test_what_cannot_be_afforded_is_unanswered():
    (found,) = compute_optimal({"a": flat(1.0, 100)}, ONE_LEVEL, [99])
    assert [choice.strategy for choice in found.choices] == [None, None]
    assert (found.accuracy, found.tokens) == (0, 0) and found.outcomes.keys() == set(KEYS)


def test_equal_accuracy_goes_to_fewer_tokens_then_to_the_name():
    results = {"c": flat(0.5, 20), "b": flat(0.5, 10), "a": flat(0.5, 10)}
    (found,) = compute_optimal(results, ONE_LEVEL, [20])
    assert {choice.strategy for choice in found.choices} == {"a"}


def test_the_order_of_problems_and_strategies_changes_nothing():
    random = np.random.default_rng(3)
    results = {name: {key: (random.random(), 10 + random.random()) for key in KEYS} for name in "abc"}
    bins = levels({key: random.random() for key in KEYS})
    backwards = {name: dict(reversed(results[name].items())) for name in "cba"}
    first, second = compute_optimal(results, bins, [11]), compute_optimal(backwards, dict(reversed(bins.items())), [11])
    assert first == second


@pytest.mark.parametrize(
    ("results", "bins", "budgets", "message"),
    [
        ({}, ONE_LEVEL, [1], "at least one strategy, got none"),
        ({"a": flat(1, 1, KEYS[1:])}, ONE_LEVEL, [1], "a must be evaluated on every problem .* not so 'problem 0'"),
        (
            {"a": flat(1, 1)},
            dict.fromkeys(KEYS[1:], 1),
            [1],
            "every problem of a must have a level, not so 'problem 0'",
        ),
        ({"a": flat(1, 1)}, ONE_LEVEL, [5, 0], "a budget must be > 0 tokens a problem, got 0"),
        ({"a": flat(1, 1, FIRST)}, dict.fromkeys(FIRST, 2), [1], f"level 2 has all its {len(FIRST)} problems in one"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(results, bins, budgets, message):
    with pytest.raises(ValueError, match=message):
        compute_optimal(results, bins, budgets)


def test_accuracy_by_level():
    # levels 1 and 2 of two problems each: 1 of 2 right; and shares, which are bootstrapped
    outcomes = {"a": (1.0, 5), "b": (0.0, 5), "c": (0.5, 5), "d": (0.25, 5)}
    found = accuracy_by_level(outcomes, {"c": 2, "d": 2, "b": 1, "a": 1})
    assert found == {1: wilson(1, 2), 2: bootstrap([0.5, 0.25])}
    assert list(found) == [1, 2]
    with pytest.raises(ValueError, match="not so 'd'"):
        accuracy_by_level(outcomes, {"a": 1, "b": 1, "c": 1})

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from inference.difficulty import (
    Choice,
    ProblemResult,
    accuracy_by_level,
    compute_optimal,
    difficulty_levels,
    fold,
    oracle_bins,
)
from inference.statistics import bootstrap, wilson

KEYS = [f"problem {index}" for index in range(40)]
FIRST, SECOND = ([key for key in KEYS if fold(key) == half] for half in (0, 1))
ONE_LEVEL = dict.fromkeys(KEYS, 1)


def test_levels_go_from_easy_to_hard_in_equal_parts():
    ease = {key: 1 - index / 10 for index, key in enumerate(KEYS[:10])}
    found = difficulty_levels(ease)
    assert [found[key] for key in KEYS[:10]] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert Counter(difficulty_levels({key: 0.1 for key in KEYS[:12]}).values()) == {1: 3, 2: 2, 3: 3, 4: 2, 5: 2}


def test_oracle_bins_rank_by_the_share_of_correct_samples():
    # Easiest first: 2 of 2, 3 of 4, 2 of 4. The share of correct samples counts, not their number.
    samples = {
        "d": [True, False, False, False],
        "a": [True, True],
        "c": [True, True, False, False],
        "e": [False],
        "b": [True, True, True, False],
    }
    assert oracle_bins(samples) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def test_levels_rank_by_ease():
    assert difficulty_levels({"a": -3, "b": 7.5, "c": 0, "d": 0.1, "e": -1}) == {"b": 1, "d": 2, "c": 3, "e": 4, "a": 5}


def test_the_levels_of_tied_problems_do_not_depend_on_their_order():
    ease = dict.fromkeys(KEYS, 0.0)
    assert difficulty_levels(ease) == difficulty_levels(dict(reversed(ease.items())))


def test_the_level_of_tied_problems_is_independent_of_their_fold():
    keys = [str(index) for index in range(5000)]
    found = difficulty_levels(dict.fromkeys(keys, 0.0))
    for level in range(1, 6):
        share = np.mean([fold(key) for key in keys if found[key] == level])
        assert share == pytest.approx(0.5, abs=0.06)  # four standard errors of 1000


def test_too_few_problems_nan_and_missing_samples_are_refused():
    with pytest.raises(ValueError, match="5 difficulty levels need at least 5 problems, got 4"):
        difficulty_levels(dict.fromkeys("abcd", 0.0))
    with pytest.raises(ValueError, match="must be a number, got nan for 'c'"):
        difficulty_levels(dict.fromkeys("abde", 0.0) | {"c": float("nan")})
    with pytest.raises(ValueError, match="at least one sample, got none for 'c'"):
        oracle_bins(dict.fromkeys("abde", [True]) | {"c": []})


def test_the_fold_of_a_key_is_the_same_in_every_process():
    program = "from inference.difficulty import fold; print(*[fold(f'problem {i}') for i in range(40)])"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert [int(half) for half in printed.split()] == [fold(key) for key in KEYS]
    assert 10 < len(FIRST) < 30


def flat(correct, tokens, keys=KEYS):
    return {key: ProblemResult(correct, tokens) for key in keys}


def test_each_level_gets_its_best_strategy():
    # Easy problems: wide 0.9, deep 0.6. Hard problems: wide 0.1, deep 0.4. There are 20 of each: (0.9 + 0.4) / 2.
    easy, hard = KEYS[:20], KEYS[20:]
    bins = dict.fromkeys(easy, 1) | dict.fromkeys(hard, 5)
    results = {
        "wide": flat(0.9, 100, easy) | flat(0.1, 100, hard),
        "deep": flat(0.6, 200, easy) | flat(0.4, 200, hard),
    }
    (found,) = compute_optimal(results, bins, [200])
    assert found.choices == (Choice(1, "wide"), Choice(1, "wide"), Choice(5, "deep"), Choice(5, "deep"))
    assert found.accuracy == pytest.approx(0.65) and found.tokens == pytest.approx(150)


def test_the_measured_half_does_not_influence_the_choice():
    # `lucky` is perfect on the first half and fails on the second, `other` the reverse, `even` reaches 0.4 on both.
    # A choice on the measured half or on both would reach 1 or 0.5; here each half chooses what fails on the other.
    results = {
        "lucky": flat(1.0, 10, FIRST) | flat(0.0, 10, SECOND),
        "other": flat(0.0, 10, FIRST) | flat(1.0, 10, SECOND),
        "even": flat(0.4, 10),
    }
    (found,) = compute_optimal(results, ONE_LEVEL, [10])
    assert found.choices == (Choice(1, "other"), Choice(1, "lucky"))
    assert found.accuracy == 0 and all(correct == 0 for correct, _ in found.results.values())


def test_changing_the_measured_half_does_not_change_its_choice():
    random = np.random.default_rng(0)
    results = {name: {key: ProblemResult(float(random.integers(2)), 10.0) for key in KEYS} for name in "abcdef"}
    (before,) = compute_optimal(results, ONE_LEVEL, [10])
    for name, outcomes in results.items():
        changed = results | {name: outcomes | flat(1.0, 1.0, FIRST)}
        (after,) = compute_optimal(changed, ONE_LEVEL, [10])
        assert after.choices[0].strategy == before.choices[0].strategy  # measured on the first half
        assert after.choices[1].strategy == name  # chosen on it


def test_choosing_among_random_strategies_gains_nothing():
    # Of 50 random strategies the best on one half is far above 0.5 there, but not on the other half.
    random = np.random.default_rng(1)
    keys = [str(index) for index in range(1000)]
    results = {str(name): {key: ProblemResult(float(random.integers(2)), 10.0) for key in keys} for name in range(50)}
    bins = difficulty_levels({key: random.random() for key in keys})
    (found,) = compute_optimal(results, bins, [10])
    picked = [np.mean([results[c.strategy][key][0] for key in keys if bins[key] == c.level]) for c in found.choices]
    assert np.mean(picked) > 0.55  # the bias without cross-validation
    assert found.accuracy == pytest.approx(0.5, abs=0.064)  # four standard errors of 1000 problems


def test_a_budget_bounds_the_tokens():
    results = {"small": flat(0.2, 10), "medium": flat(0.5, 50), "large": flat(0.8, 250)}
    found = compute_optimal(results, ONE_LEVEL, [10, 49.9, 50, 1000])
    assert [one.budget for one in found] == [10, 49.9, 50, 1000]
    assert [one.choices[0].strategy for one in found] == ["small", "small", "medium", "large"]
    assert [one.accuracy for one in found] == pytest.approx([0.2, 0.2, 0.5, 0.8])
    assert [one.tokens for one in found] == pytest.approx([10, 10, 50, 250])


def test_the_budget_applies_to_the_choosing_half():
    # `long` uses 10 tokens on the first half and 90 on the second. It is within the budget of 50 only on the first
    # half, which therefore chooses it for the second.
    results = {"long": flat(1.0, 10, FIRST) | flat(1.0, 90, SECOND), "short": flat(0.5, 20)}
    (found,) = compute_optimal(results, ONE_LEVEL, [50])
    assert [choice.strategy for choice in found.choices] == ["short", "long"]
    assert [{found.results[key].tokens for key in half} for half in (FIRST, SECOND)] == [{20}, {90}]


def test_problems_without_an_affordable_strategy_count_as_unanswered():
    (found,) = compute_optimal({"a": flat(1.0, 100)}, ONE_LEVEL, [99])
    assert [choice.strategy for choice in found.choices] == [None, None]
    assert (found.accuracy, found.tokens) == (0, 0) and found.results.keys() == set(KEYS)


def test_ties_are_broken_by_fewer_tokens_and_then_by_name():
    results = {"c": flat(0.5, 20), "b": flat(0.5, 10), "a": flat(0.5, 10)}
    (found,) = compute_optimal(results, ONE_LEVEL, [20])
    assert {choice.strategy for choice in found.choices} == {"a"}


def test_the_order_of_problems_and_strategies_does_not_matter():
    random = np.random.default_rng(3)
    results = {name: {key: ProblemResult(random.random(), 10 + random.random()) for key in KEYS} for name in "abc"}
    bins = difficulty_levels({key: random.random() for key in KEYS})
    backwards = {name: dict(reversed(results[name].items())) for name in "cba"}
    first, second = compute_optimal(results, bins, [11]), compute_optimal(backwards, dict(reversed(bins.items())), [11])
    assert first == second


@pytest.mark.parametrize(
    ("results", "bins", "budgets", "message"),
    [
        ({}, ONE_LEVEL, [1], "at least one strategy is needed, got none"),
        ({"a": flat(1, 1, KEYS[1:])}, ONE_LEVEL, [1], "a must be evaluated on every problem .* but lacks 'problem 0'"),
        (
            {"a": flat(1, 1)},
            dict.fromkeys(KEYS[1:], 1),
            [1],
            "every problem of a must have a level, but 'problem 0' has none",
        ),
        ({"a": flat(1, 1)}, ONE_LEVEL, [5, 0], "a budget must be > 0 tokens per problem, got 0"),
        ({"a": flat(1, 1, FIRST)}, dict.fromkeys(FIRST, 2), [1], f"all {len(FIRST)} problems of level 2 are in"),
    ],
)
def test_invalid_inputs_are_refused(results, bins, budgets, message):
    with pytest.raises(ValueError, match=message):
        compute_optimal(results, bins, budgets)


def test_accuracy_by_level():
    # Level 1 has 1 of 2 correct; level 2 has fractional accuracies, whose interval is bootstrapped.
    results = {key: ProblemResult(correct, 5) for key, correct in {"a": 1.0, "b": 0.0, "c": 0.5, "d": 0.25}.items()}
    found = accuracy_by_level(results, {"c": 2, "d": 2, "b": 1, "a": 1})
    assert found == {1: wilson(1, 2), 2: bootstrap([0.5, 0.25])}
    assert list(found) == [1, 2]
    with pytest.raises(ValueError, match="'d' has none"):
        accuracy_by_level(results, {"a": 1, "b": 1, "c": 1})

import math

import pytest

from tools.reproduce.words import arm_texts, bound_of, claimed_text, effect_text, interval_text, p_text


def made(unit, mean, at_least, *arms, of="tokens"):
    """A comparison in results.json. arms: (name, times, mean, reached)."""
    names = ("name", "times", "mean", "reached")
    return {
        "unit": unit,
        "of": of,
        "at_least": at_least,
        "is_difference": False,
        "effect": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1},
        "arms": [dict(zip(names, arm)) for arm in arms],
    }


def test_shares_are_percent_and_their_differences_points():
    found = made("share", 0.25, 0.1, ("a", 1.0, 0.75, None), ("b", -1.0, 0.5, None))
    assert effect_text(found) == "+25.0 points" and interval_text(found) == "+15.0 to +35.0"
    assert claimed_text(found) == "at least +10.0 points" and arm_texts(found) == ["a 75.0%", "b 50.0%"]


def test_ratios_are_logarithms_shown_as_factors():
    found = made("ratio", math.log(2), 1.5, ("a", 1.0, math.log(80), None), ("b", -1.0, math.log(40), None))
    assert effect_text(found) == "2.00 x" and claimed_text(found) == "at least 1.50 x"
    assert arm_texts(found) == ["a 80 tokens", "b 40 tokens"] and bound_of(found) == pytest.approx(math.log(1.5))


def test_a_single_arm_that_decides_nothing_is_a_value():
    road = made("ratio", math.log(0.05), None, ("a", 1.0, math.log(0.05), False), of="hours")
    assert effect_text(road) == "3.0 min" and claimed_text(road) == ""
    assert arm_texts(road) == ["a 3.0 min (not reached)"]


def test_a_single_arm_that_decides_is_the_effect():
    assert arm_texts(made("share", 0.1, 0.05, ("a", 1.0, 0.1, None))) == []
    assert arm_texts(made("share", -0.01, -0.02, ("a", -1.0, 0.01, None))) == ["a 1.0%"]


def test_a_single_value_has_no_interval():
    found = made("count", 3.0, 1.0, ("a", 1.0, 5.0, None), ("b", -1.0, 2.0, None))
    found["effect"] |= {"low": None, "high": None}
    assert interval_text(found) == "" and arm_texts(found) == ["a 5.0", "b 2.0"]
    assert effect_text(found) == "+3.0 tokens" and claimed_text(found) == "at least +1.0 tokens"


@pytest.mark.parametrize(("p", "text"), [(None, ""), (0.0004, "< 0.001"), (0.0466, "0.047"), (1.0, "1.000")])
def test_p_values(p, text):
    effect = {"p": p, "low": 0.0, "high": 0.1}
    two, one = [{}, {}], [{}]
    assert p_text({"effect": effect, "arms": two, "at_least": None, "is_difference": False}) == text
    assert p_text({"effect": effect, "arms": one, "at_least": 0.1, "is_difference": False}) == ""  # a share, at most
    assert p_text({"effect": effect, "arms": one, "at_least": None, "is_difference": False}) == ""
    assert p_text({"effect": effect, "arms": one, "at_least": None, "is_difference": True}) == text


def test_a_measure_of_differences_is_shown_as_a_difference():
    found = made("share", 0.097, None, ("a", 1.0, 0.097, None)) | {"is_difference": True}
    assert effect_text(found) == "+9.7 points" and interval_text(found) == "-0.3 to +19.7" and arm_texts(found) == []


def test_values_without_variation_have_neither_an_interval_nor_a_p_value():
    found = made("share", 0.0, 0.01, ("a", 1.0, 1.0, None), ("b", -1.0, 1.0, None))
    found["effect"] |= {"low": 0.0, "high": 0.0, "p": 1.0}
    assert effect_text(found) == "+0.0 points" and interval_text(found) == p_text(found) == ""

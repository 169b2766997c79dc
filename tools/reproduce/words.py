"""Effects and measures in words, for the terminal and the documentation."""

import math
from collections.abc import Mapping
from typing import Any

from tools.reproduce.measures import Unit

Result = Mapping[str, Any]  # a comparison in results.json


def effect_text(comparison: Result) -> str:
    """The mean effect: "+25.0 points" of a share, "+3.2 tokens", or the factor of a ratio, "2.00 x"."""
    return number_text(comparison, comparison["effect"]["mean"]) + unit_text(comparison)


def number_text(comparison: Result, value: float) -> str:
    """An effect without its unit. The effect of a single arm that decides nothing is a value of the measure."""
    if is_level(comparison):
        return level(value, comparison["unit"], comparison["of"])
    return difference(value, comparison["unit"])


def unit_text(comparison: Result) -> str:
    """The unit of a difference, if its number does not show it."""
    if is_level(comparison) or comparison["unit"] == Unit.RATIO:
        return ""
    return " points" if comparison["unit"] == Unit.SHARE else f" {comparison['of']}"


def is_level(comparison: Result) -> bool:
    """Whether the effect is a value of the measure rather than a difference."""
    return comparison["at_least"] is None and len(comparison["arms"]) == 1 and not comparison["is_difference"]


def bound_of(comparison: Result) -> float:
    """What is claimed of the effect, in the unit in which it is computed: of a factor, the logarithm."""
    bound = float(comparison["at_least"])
    return math.log(bound) if comparison["unit"] == Unit.RATIO else bound


def interval_text(comparison: Result) -> str:
    """ "51.0 to 57.2"; empty for a single value, and for values without variation."""
    low, high = comparison["effect"]["low"], comparison["effect"]["high"]
    return "" if low is None or low == high else f"{number_text(comparison, low)} to {number_text(comparison, high)}"


def difference(value: float, unit: str) -> str:
    """A difference of two values of a measure."""
    if unit == Unit.RATIO:
        return f"{math.exp(value):.2f} x"
    if unit == Unit.SHARE:
        return f"{100 * value:+.1f}"
    return f"{value:+.1f}"


def level(value: float, unit: str, of: str) -> str:
    """A value of a measure."""
    if unit == Unit.SHARE:
        return f"{100 * value:.1f}%"
    if unit == Unit.COUNT:
        return f"{value:.1f}"
    number = math.exp(value)
    return f"{60 * number:.1f} min" if of == "hours" else f"{number:.0f} {of}"


def p_text(comparison: Result) -> str:
    """The p-value of no effect; empty for a value of a single arm, such as a share that may be at most 2%, and for an
    effect without variation, which has no interval either."""
    p, is_value = comparison["effect"]["p"], len(comparison["arms"]) == 1 and not comparison["is_difference"]
    if p is None or is_value or comparison["effect"]["low"] == comparison["effect"]["high"]:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def claimed_text(comparison: Result) -> str:
    """What is claimed of the effect; empty for a comparison that decides nothing."""
    if comparison["at_least"] is None:
        return ""
    return f"at least {number_text(comparison, bound_of(comparison))}{unit_text(comparison)}"


def arm_texts(comparison: Result) -> list[str]:
    """The arms of a comparison with their values: "tiny_rl 72.1%"; none if the effect is that of a single arm."""
    if [arm["times"] for arm in comparison["arms"]] == [1.0] and not is_level(comparison):
        return []
    unit, of = comparison["unit"], comparison["of"]
    return [
        f"{arm['name']} {level(arm['mean'], unit, of)}" + (" (not reached)" if arm["reached"] is False else "")
        for arm in comparison["arms"]
    ]

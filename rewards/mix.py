"""The reward mix: named components of a completion, weighted and added up."""

from collections.abc import Callable, Mapping

from rewards.countdown import Verdict
from rewards.tags import Parts


def correct(parts: Parts, verdict: Verdict) -> float:
    """1 for an exactly correct answer."""
    return float(verdict.correct)


def answered(parts: Parts, verdict: Verdict) -> float:
    """1 for an answer that could be read, right or wrong; an empty answer is none."""
    return float(verdict.well_formed)


def tags(parts: Parts, verdict: Verdict) -> float:
    """1 for </think>, <answer>, </answer>, once each and in this order."""
    return float(parts.ordered)


COMPONENTS: Mapping[str, Callable[[Parts, Verdict], float]] = {
    "correct": correct,
    "answered": answered,
    "tags": tags,
}

"""The measures of several seeds as tables of numbers."""

from collections.abc import Iterable, Sequence

import numpy as np

from conf.reproduce import ComparisonConfig, TermConfig
from inference.difficulty import difficulty_levels
from run.cost import Price
from tools.reproduce.measures import MEASURES, accuracy
from tools.reproduce.outputs import SeedRun


class Experiment:
    """The runs of several seeds. Problems are ranked by the completions of all of them, so that a problem has the same
    level of difficulty for every seed."""

    def __init__(self, runs: Sequence[SeedRun], price: Price) -> None:
        self.runs, self.price = runs, price
        self._levels: dict[str, dict[str, int]] = {}

    def with_stages(self, names: Sequence[str]) -> "Experiment":
        """The seeds for which these stages, and those that they need, have finished."""
        return Experiment([run for run in self.runs if run.has(names)], self.price)

    def levels(self, evaluation: str) -> dict[str, int]:
        """Problem key -> level by the pass rate in an evaluation, 1 (easiest) to 5."""
        if evaluation not in self._levels:
            by_seed = [accuracy(run.solved(evaluation)) for run in self.runs]
            ease = {key: sum(values[key] for values in by_seed) / len(by_seed) for key in by_seed[0]}
            self._levels[evaluation] = difficulty_levels(ease)
        return self._levels[evaluation]

    def tables(
        self, terms: Sequence[TermConfig], difficulty: str | None = None, levels: Sequence[int] = ()
    ) -> list[np.ndarray]:
        """The values of each term, [seeds, problems], over the problems that all terms and seeds have.

        terms               with their measures and all options
        difficulty, levels  only problems of these levels, by the pass rate in the evaluation `difficulty`

        Raises:
            ValueError: a measure does not exist for these completions, or the terms have no problem in common.
        """
        keys = self._common_keys(terms)
        if difficulty is not None and levels:
            ranked = self.levels(difficulty)
            keys = {key for key in keys if ranked.get(key) in levels}
        by_term = [[_values(run, term, keys) for run in self.runs] for term in terms]
        shared = sorted(_common(set(values) for by_seed in by_term for values in by_seed))
        if not shared:
            raise ValueError("the arms have no problem in common")
        return [np.array([[values[key] for key in shared] for values in by_seed]) for by_seed in by_term]

    def _common_keys(self, terms: Sequence[TermConfig]) -> set[str]:
        """The problems that all stages have whose completions are measured. They are chosen before they are measured,
        because the values of a ratio depend on the other problems."""
        stages = {term.stage for term in terms if MEASURES[str(term.measure)].of_completions}
        return _common({each.problem.key for each in run.solved(stage)} for run in self.runs for stage in stages)


def full_terms(comparison: ComparisonConfig) -> list[TermConfig]:
    """The terms of a comparison with their measures and all their options."""
    return [
        TermConfig(term.stage, term.times, term.measure or comparison.measure, {**comparison.options, **term.options})
        for term in comparison.effect
    ]


def _common(sets: Iterable[set[str]]) -> set[str]:
    """What all of the sets have; empty without a set."""
    first, *others = [*sets] or [set()]
    return first.intersection(*others)


def _values(run: SeedRun, term: TermConfig, keys: set[str]) -> dict[str, float]:
    measure = MEASURES[str(term.measure)]
    if measure.of_stage is not None:
        return measure.of_stage(run, term.stage, **term.options)
    assert measure.of_completions is not None
    return measure.of_completions([each for each in run.solved(term.stage) if each.problem.key in keys], **term.options)

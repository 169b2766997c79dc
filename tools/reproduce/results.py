"""The content of results.json: every claim with its comparisons, curves, cost and verdict."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from conf.reproduce import REPRODUCE, ClaimConfig, ComparisonConfig, CurveConfig, TermConfig
from pipelines.graph import selected
from run.files import DamagedFile
from run.folder import git_commit
from tools.reproduce.effects import Verdict, combine, decide, estimate_effect
from tools.reproduce.experiment import Experiment, full_terms
from tools.reproduce.measures import MEASURES, Unit, reaches
from tools.reproduce.words import bound_of

CONFIDENCE = 0.95
STATED = ("number", "title", "sentence", "source", "url", "done", "limits", "needed", "combine")


def all_results(claims: Mapping[str, ClaimConfig], experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """The content of results.json, from the experiments by the name of their pipeline."""
    experiment = experiments[REPRODUCE]
    return {
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "git": git_commit(Path(__file__).parent),
        "cores": os.cpu_count(),
        "seeds": [run.seed for run in experiment.runs],
        "usd_per_hour": experiment.price.usd_per_hour,
        "watts": experiment.price.watts,
        **cost_of([stage for claim in claims.values() for stage in claim.stages], experiment),
        "claims": {name: claim_result(claim, experiments) for name, claim in claims.items()},
    }


def claim_result(claim: ClaimConfig, experiments: Mapping[str, Experiment]) -> dict[str, Any]:
    """A claim's part of results.json."""
    experiment = experiments[REPRODUCE]
    refute = len(claim.deciding)
    hold = refute if claim.combine == "any" else 1
    comparisons = [comparison_result(each, experiments[each.pipeline], hold, refute) for each in claim.comparisons]
    verdicts = [Verdict(each["verdict"]) for each in comparisons if each["verdict"] is not None]
    return {
        **{name: getattr(claim, name) for name in STATED},
        "verdict": combine(verdicts, claim.combine),
        "confidence": corrected_confidence(hold),
        "comparisons": comparisons,
        "curves": [result for curve in claim.curves if (result := curve_result(curve, experiment))],
        **cost_of(claim.stages, experiment),
    }


def corrected_confidence(tests: int) -> float:
    """The confidence level of an interval if one of `tests` comparisons is enough (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / tests


def comparison_result(
    comparison: ComparisonConfig, experiment: Experiment, hold: int = 1, refute: int = 1
) -> dict[str, Any]:
    """A comparison's part of results.json. It has not been run if its stages have not finished for any seed; its
    verdict is None if it decides nothing.

    hold    comparisons of which one is enough for the claim to hold: the interval and the p-value are corrected for
            their number (Bonferroni)
    refute  comparisons that decide the claim: the interval that has to lie below the bound to refute it is corrected
            for their number
    """
    terms, measure = full_terms(comparison), MEASURES[comparison.measure]
    own = experiment.with_stages(comparison.stages)
    decides = comparison.at_least is not None
    found: dict[str, Any] = {
        "label": comparison.label,
        "measure": measure.words,
        "unit": measure.unit,
        "of": measure.of,
        "is_difference": measure.is_difference,
        "at_least": comparison.at_least,
        "verdict": Verdict.NOT_RUN if decides else None,
        "effect": None,
        "arms": [],
        "note": "",
    }
    if not own.runs:
        return found
    try:
        tables = own.tables(terms, comparison.difficulty, comparison.levels)
    except DamagedFile:
        raise
    except ValueError as error:  # a measure that these completions do not have
        return found | {"verdict": Verdict.UNDECIDED if decides else None, "note": str(error)}
    values = np.sum([term.times * table for term, table in zip(terms, tables, strict=True)], axis=0)
    effect, wide = (
        estimate_effect(values, corrected_confidence(tests), are_shares=measure.unit is Unit.SHARE)
        for tests in (hold, refute)
    )
    if effect.p is not None:
        effect = replace(effect, p=min(1.0, hold * effect.p))
    arms = [
        {"name": _name(term, own_measure), "times": term.times, "reached": _reached(own, term)}
        | asdict(estimate_effect(table))
        for term, own_measure, table in zip(terms, [each.measure for each in comparison.effect], tables, strict=True)
    ]
    if decides:
        found["verdict"] = decide(effect, wide, bound_of(found), *_bounds(arms))
    return found | {"effect": asdict(effect), "arms": arms}


def curve_result(curve: CurveConfig, experiment: Experiment) -> dict[str, Any] | None:
    """A figure's part of results.json: of each stage the mean and its interval at each value; None if it has not been
    run."""
    own = experiment.with_stages([*curve.stages, *filter(None, [curve.difficulty])])
    if not own.runs:
        return None
    measure = MEASURES[curve.measure]
    lines: dict[str, list[dict[str, Any]]] = {stage: [] for stage in curve.stages}
    for stage, points in lines.items():
        for value in curve.values:
            by_level = curve.over == "level"
            options = curve.options if by_level else {**curve.options, curve.over: value}
            term = TermConfig(stage, 1.0, curve.measure, options)
            try:
                [table] = own.tables([term], curve.difficulty, [value] if by_level else [])
            except DamagedFile:
                raise
            except ValueError:
                continue  # the measure does not exist for these completions
            effect = estimate_effect(table)
            points.append({"x": value, "mean": effect.mean, "low": effect.low, "high": effect.high})
    head = {"title": curve.title, "over": curve.over, "measure": measure.words, "unit": measure.unit, "of": measure.of}
    return head | {"lines": lines}


def cost_of(stages: Sequence[str], experiment: Experiment) -> dict[str, float]:
    """Minutes, dollars and kilowatt-hours of these stages and of all that they need, over all seeds. Claims share
    stages, so their costs do not add up."""
    hours = 0.0
    for run in experiment.runs:
        hours += sum(run.hours(name) for name in selected(run.stages, stages) if run.ledger.is_finished(name))
    price = experiment.price
    return {"minutes": 60 * hours, "usd": hours * price.usd_per_hour, "kwh": hours * price.watts / 1000}


def _name(term: TermConfig, own_measure: str | None) -> str:
    """A stage as a reader calls it: an evaluation by its model, with its measure if another one is usual."""
    options = "".join(f" {value}" for value in term.options.values())
    return term.stage.removeprefix("evaluate_") + (f", {own_measure}{options}" if own_measure else "")


def _reached(experiment: Experiment, term: TermConfig) -> bool | None:
    """Whether a route reached its accuracy with every seed; None for other measures."""
    if term.measure != "hours_to_accuracy":
        return None
    return all(reaches(run, term.stage, **term.options) for run in experiment.runs)


def _bounds(arms: Sequence[Mapping[str, Any]]) -> tuple[bool, bool]:
    """Whether the effect is only a lower bound, or only an upper bound, of the true one: the cost of a route that did
    not reach its accuracy is larger than what was spent."""
    missed = [arm["times"] for arm in arms if arm["reached"] is False]
    return any(times > 0 for times in missed), any(times < 0 for times in missed)

"""Evaluations side by side: which strategy is better, and what each difficulty is best answered by."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.difficulty import (
    ComputeOptimal,
    Outcome,
    accuracy_by_level,
    compute_optimal,
    oracle_bins,
    predicted_bins,
)
from inference.picture import Curve, Point
from inference.results import majority_at
from inference.statistics import Interval, mean_interval, paired_bootstrap

NEXT_BUDGET = 1.1  # times the one before


class Evaluation:
    """A result of evaluate.py: its summary, and its rows by problem."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if "key" in row]
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in rows}

    @property
    def accuracy(self) -> Interval:
        return interval(self.summary["accuracy"])

    @property
    def tokens(self) -> float:
        return float(self.summary["tokens_per_problem"])

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {key: (float(row["correct"]), float(row["tokens"])) for key, row in self.rows.items()}

    @property
    def samples(self) -> int:
        """How many independent samples a problem has; 0 for a strategy whose candidates are none."""
        return max(map(int, self.summary["pass_at"]), default=0)

    @property
    def knows_the_truth(self) -> bool:
        chosen = self.summary["settings"]["strategy"]
        return chosen["verifier"] == "oracle" and chosen["name"] in ("best_of_n", "beam")

    def majority(self, k: int) -> dict[str, Outcome]:
        """What the vote of k of the samples is expected to do on each problem, for their share of the tokens."""
        return {
            key: (majority_at(row, k), row["tokens"] * k / len(row["candidates"])) for key, row in self.rows.items()
        }


def interval(plain: Mapping[str, float]) -> Interval:
    return Interval(plain["low"], plain["mean"], plain["high"])


def table(evaluations: Sequence[Evaluation]) -> str:
    """Markdown: accuracy with its 95% interval, tokens a problem, seconds of generating, and the difference to
    the first on the same problems with its p.

    Raises:
        ValueError: the evaluations are not over the same problems.
    """
    lines = [
        "| evaluation | problems | accuracy | 95% | tokens a problem | seconds | to the first | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first, *_ = evaluations
    for one in evaluations:
        accuracy, seconds = one.accuracy, one.summary["spent"]["generating_seconds"]
        row = f"| {one.name} | {len(one.rows)} | {accuracy.mean:.1%} | {accuracy.low:.1%} to {accuracy.high:.1%} "
        row += f"| {one.tokens:,.0f} | {seconds:.0f} |"
        if one is first:
            lines.append(f"{row} | |")
            continue
        ours, theirs = ({key: correct for key, (correct, _) in it.outcomes.items()} for it in (one, first))
        compared = paired_bootstrap(ours, theirs)
        gap = compared.difference
        p = f"{compared.p:.3f}" if compared.p >= 0.001 else "< 0.001"
        lines.append(f"{row} {100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) | {p} |")
    return "\n".join(lines)


def difficulty_bins(sampled: Evaluation) -> dict[str, dict[str, int]]:
    """Levels of difficulty by the samples of an evaluation: "oracle", by the share that is right, which takes the
    truth; "predicted", by the mean score of its verifier or, without one, the model's mean certainty."""
    right = {key: [one["correct"] for one in row["candidates"]] for key, row in sampled.rows.items()}
    own = {key: _mean([_certainty(one) for one in row["candidates"]]) for key, row in sampled.rows.items()}
    if sampled.summary["settings"]["strategy"]["name"] == "best_of_n" and not sampled.knows_the_truth:
        own = {key: _mean(row["details"]["scores"]) for key, row in sampled.rows.items()}
    return {"oracle": oracle_bins(right), "predicted": predicted_bins(own)}


def spend_by_difficulty(
    evaluations: Sequence[Evaluation], bins: Mapping[str, Mapping[str, int]]
) -> dict[str, list[ComputeOptimal]]:
    """For each way to tell the difficulty: the best strategy of each level at budgets that are the strategies'
    own costs, of those that lie close together the last. The votes of parts of the largest set of samples are
    strategies too; those that know the truth are none."""
    choices = {one.name: one.outcomes for one in evaluations if not one.knows_the_truth}
    sampled = max(evaluations, key=lambda one: one.samples)
    choices |= {f"majority@{k}": sampled.majority(int(k)) for k in sampled.summary["majority_at"]}
    costs = sorted(math.ceil(_mean([tokens for _, tokens in outcomes.values()])) for outcomes in choices.values())
    budgets = [cost for cost, following in zip(costs, [*costs[1:], math.inf]) if following > NEXT_BUDGET * cost]
    return {how: compute_optimal(choices, levels, budgets) for how, levels in bins.items()}


def choices_table(spent: Mapping[str, Sequence[ComputeOptimal]]) -> str:
    """Markdown: what each budget reaches, and the strategies that both halves of each level chose."""
    lines = [
        "| difficulty | budget | tokens a problem | accuracy | chosen, from the easiest level |",
        "|---|---|---|---|---|",
    ]
    for how, each in spent.items():
        for one in each:
            levels = sorted({choice.level for choice in one.choices})
            named = [{choice.strategy or "-" for choice in one.choices if choice.level == level} for level in levels]
            said = "; ".join(" or ".join(sorted(names)) for names in named)
            lines.append(f"| {how} | {one.budget:,.0f} | {one.tokens:,.0f} | {one.accuracy:.1%} | {said} |")
    return "\n".join(lines)


def curves(
    evaluations: Sequence[Evaluation],
    bins: Mapping[str, Mapping[str, int]],
    spent: Mapping[str, Sequence[ComputeOptimal]],
) -> list[Curve]:
    """A point for each evaluation, with its accuracy by (oracle) difficulty; lines for what k of the largest set
    of samples give, by the vote and with the oracle, and for spending by difficulty."""
    found = []
    for one in evaluations:
        levels = accuracy_by_level(one.outcomes, bins["oracle"]) if bins else {}
        found.append(Curve(one.name, [Point(1, one.tokens, one.accuracy)], levels))
    sampled = max(evaluations, key=lambda one: one.samples)
    for measure in ("majority_at", "pass_at") if sampled.samples > 1 else ():
        sizes = {int(k): interval(value) for k, value in sampled.summary[measure].items()}
        each = sampled.tokens / sampled.samples
        found.append(Curve(measure.replace("_at", "@k"), [Point(k, k * each, value) for k, value in sizes.items()]))
    for how, budgets in spent.items():
        points = [Point(1, one.tokens, mean_interval([right for right, _ in one.outcomes.values()])) for one in budgets]
        found.append(Curve(f"by {how} difficulty", points))
    return found


def _certainty(candidate: Mapping[str, Any]) -> float:
    return math.exp(candidate["logprob"] / max(1, candidate["tokens"]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

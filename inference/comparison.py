"""Comparison of evaluations: which strategy is better, and which one suits each difficulty level."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from inference.difficulty import (
    ComputeOptimal,
    ProblemResult,
    accuracy_by_level,
    compute_optimal,
    difficulty_levels,
    oracle_bins,
)
from inference.picture import Curve, Point
from inference.results import CandidateRow, majority_at, mean_logprob, problem_rows
from inference.statistics import Interval, mean_interval, paired_bootstrap
from run.files import read_json

MIN_BUDGET_RATIO = 1.1  # between adjacent budgets


class SavedEvaluation:
    """A result of evaluate.py: the summary from eval/<name>.json and the rows from eval/<name>.jsonl.

    name  as which it is listed; <name> by default
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or path.stem
        if path.suffix != ".json" or not path.is_file() or not path.with_suffix(".jsonl").is_file():
            raise ValueError(
                f"{path} is not the summary of an evaluation; give eval/NAME.json of a run, with NAME.jsonl beside it"
            )
        do = "remove it, and run the evaluation again to write it"
        self.summary = read_json(path, do, ("accuracy", "tokens_per_problem", "pass_at", "settings"))
        self.rows = {row["key"]: row for row in problem_rows(path.with_suffix(".jsonl"))}

    @property
    def accuracy(self) -> Interval:
        return to_interval(self.summary["accuracy"])

    @property
    def tokens_per_problem(self) -> float:
        return float(self.summary["tokens_per_problem"])

    @property
    def results(self) -> dict[str, ProblemResult]:
        """Problem key -> result."""
        return {key: ProblemResult(float(row["correct"]), float(row["tokens"])) for key, row in self.rows.items()}

    @property
    def num_samples(self) -> int:
        """Number of independent samples per problem; 0 if the strategy's candidates are not independent."""
        return max(map(int, self.summary["pass_at"]), default=0)

    @property
    def uses_ground_truth(self) -> bool:
        strategy = self.summary["settings"]["strategy"]
        return strategy["verifier"] == "oracle" and strategy["name"] in ("best_of_n", "beam")

    def majority(self, k: int) -> dict[str, ProblemResult]:
        """Return problem key -> expected result of majority voting over k of the samples."""
        return {
            key: ProblemResult(majority_at(row, k), row["tokens"] * k / len(row["candidates"]))
            for key, row in self.rows.items()
        }


def to_interval(plain: Mapping[str, float]) -> Interval:
    return Interval(plain["low"], plain["mean"], plain["high"])


def comparison_table(evaluations: Sequence[SavedEvaluation]) -> str:
    """Return a Markdown table with a row per evaluation: accuracy with its 95% interval, tokens per problem, seconds
    of generation, and the paired difference to the first evaluation with its p-value.

    Raises:
        ValueError: the evaluations have different problems.
    """
    lines = [
        "| evaluation | problems | accuracy | 95% | tokens per problem | seconds | vs. first | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first, *_ = evaluations
    for evaluation in evaluations:
        accuracy, seconds = evaluation.accuracy, evaluation.summary["spent"]["generating_seconds"]
        row = f"| {evaluation.name} | {len(evaluation.rows)} | {accuracy.mean:.1%} "
        row += f"| {accuracy.low:.1%} to {accuracy.high:.1%} | {evaluation.tokens_per_problem:,.0f} | {seconds:.0f} |"
        if evaluation is first:
            lines.append(f"{row} | |")
            continue
        compared = paired_bootstrap(
            {key: result.correct for key, result in evaluation.results.items()},
            {key: result.correct for key, result in first.results.items()},
        )
        gap = compared.difference
        p = f"{compared.p:.3f}" if compared.p >= 0.001 else "< 0.001"
        lines.append(f"{row} {100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) | {p} |")
    return "\n".join(lines)


def difficulty_bins(sampled: SavedEvaluation) -> dict[str, dict[str, int]]:
    """Return difficulty levels estimated from the samples of an evaluation, by two methods.

    "oracle" uses the share of correct samples, which requires the ground truth. "predicted" uses the mean score of
    the evaluation's verifier or, without one, the mean certainty of the model.
    """
    right = {key: [candidate["correct"] for candidate in row["candidates"]] for key, row in sampled.rows.items()}
    ease = {key: fmean([_certainty(candidate) for candidate in row["candidates"]]) for key, row in sampled.rows.items()}
    if sampled.summary["settings"]["strategy"]["name"] == "best_of_n" and not sampled.uses_ground_truth:
        ease = {key: fmean(row["details"]["scores"]) for key, row in sampled.rows.items()}
    return {"oracle": oracle_bins(right), "predicted": difficulty_levels(ease)}


def compute_optimal_by_bins(
    evaluations: Sequence[SavedEvaluation], bins: Mapping[str, Mapping[str, int]]
) -> dict[str, list[ComputeOptimal]]:
    """Return, for each method of estimating the difficulty, the compute-optimal results at several budgets.

    The strategies are the evaluations that do not use the ground truth, and majority voting over k samples of the
    largest set of samples. The budgets are the mean costs of the strategies; of nearly equal costs the largest.
    """
    strategies = {one.name: one.results for one in evaluations if not one.uses_ground_truth}
    sampled = max(evaluations, key=lambda evaluation: evaluation.num_samples)
    strategies |= {f"majority@{k}": sampled.majority(int(k)) for k in sampled.summary["majority_at"]}
    costs = sorted(math.ceil(fmean([result.tokens for result in own.values()])) for own in strategies.values())
    budgets = [cost for cost, larger in zip(costs, [*costs[1:], math.inf]) if larger > MIN_BUDGET_RATIO * cost]
    return {method: compute_optimal(strategies, levels, budgets) for method, levels in bins.items()}


def choices_table(optimal: Mapping[str, Sequence[ComputeOptimal]]) -> str:
    """Return a Markdown table of what each budget reaches, and of the strategies that the two halves of each
    difficulty level chose."""
    lines = [
        "| difficulty | budget | tokens per problem | accuracy | chosen strategies, easiest level first |",
        "|---|---|---|---|---|",
    ]
    for method, results in optimal.items():
        for result in results:
            levels = sorted({choice.level for choice in result.choices})
            names = [{choice.strategy or "-" for choice in result.choices if choice.level == level} for level in levels]
            chosen = "; ".join(" or ".join(sorted(own)) for own in names)
            row = f"| {method} | {result.budget:,.0f} | {result.tokens:,.0f} | {result.accuracy:.1%} | {chosen} |"
            lines.append(row)
    return "\n".join(lines)


def curves(
    evaluations: Sequence[SavedEvaluation],
    bins: Mapping[str, Mapping[str, int]],
    optimal: Mapping[str, Sequence[ComputeOptimal]],
) -> list[Curve]:
    """Return the curves of the picture.

    Each evaluation is a point, with its accuracy by oracle difficulty. Lines show majority@k and pass@k of the
    largest set of samples, and the compute-optimal results.
    """
    found = []
    for evaluation in evaluations:
        levels = accuracy_by_level(evaluation.results, bins["oracle"]) if bins else {}
        point = Point(1, evaluation.tokens_per_problem, evaluation.accuracy)
        found.append(Curve(evaluation.name, [point], levels))
    sampled = max(evaluations, key=lambda evaluation: evaluation.num_samples)
    for measure in ("majority_at", "pass_at") if sampled.num_samples > 1 else ():
        accuracy = {int(k): to_interval(value) for k, value in sampled.summary[measure].items()}
        tokens = sampled.tokens_per_problem / sampled.num_samples
        points = [Point(k, k * tokens, value) for k, value in accuracy.items()]
        found.append(Curve(measure.replace("_at", "@k"), points))
    for method, results in optimal.items():
        points = [
            Point(1, result.tokens, mean_interval([one.correct for one in result.results.values()]))
            for result in results
        ]
        found.append(Curve(f"by {method} difficulty", points))
    return found


def _certainty(candidate: CandidateRow) -> float:
    """Return the geometric mean of the probabilities of the tokens that the model sampled."""
    return math.exp(mean_logprob(candidate))

"""Evaluations side by side: a table, the paired difference to the first, and a picture.

python -m inference outputs/RUN/eval/*.json --output scaling.png
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.difficulty import accuracy_by_level, oracle_bins
from inference.picture import Curve, Point, draw
from inference.statistics import Interval, paired_bootstrap


class Evaluation:
    """A result of evaluate.py: its summary, and its rows by problem."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines[1:])}

    @property
    def accuracy(self) -> Interval:
        return interval(self.summary["accuracy"])

    @property
    def tokens(self) -> float:
        return float(self.summary["tokens_per_problem"])

    @property
    def scores(self) -> dict[str, float]:
        return {key: float(row["correct"]) for key, row in self.rows.items()}


def interval(plain: Mapping[str, float]) -> Interval:
    return Interval(plain["low"], plain["mean"], plain["high"])


def table(evaluations: Sequence[Evaluation]) -> str:
    """Markdown: accuracy with its 95% interval, tokens a problem, seconds of generating, and the difference to
    the first on the same problems with its p."""
    lines = [
        "| evaluation | problems | accuracy | 95% | tokens a problem | seconds | to the first | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = evaluations[0]
    for one in evaluations:
        accuracy, seconds = one.accuracy, one.summary["this_start"]["generating_seconds"]
        row = f"| {one.name} | {len(one.rows)} | {accuracy.mean:.1%} | {accuracy.low:.1%} to {accuracy.high:.1%} "
        row += f"| {one.tokens:,.0f} | {seconds:.0f} "
        if one is first:
            lines.append(row + "| | |")
            continue
        compared = paired_bootstrap(one.scores, first.scores)
        gap = compared.difference
        lines.append(
            row + f"| {100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f}) | {compared.p:.3f} |"
        )
    return "\n".join(lines)


def curves(evaluations: Sequence[Evaluation]) -> list[Curve]:
    """A point for each, by difficulty too where one of them has several samples a problem to tell it by; and of
    the largest set of samples what k of them give, by the vote and with the oracle."""
    sampled = max(evaluations, key=lambda one: len(one.summary["pass_at"]))
    several = len(sampled.summary["pass_at"]) > 1
    bins = (
        oracle_bins({k: [c["correct"] for c in row["candidates"]] for k, row in sampled.rows.items()})
        if several
        else {}
    )
    found = []
    for one in evaluations:
        by_key = {key: (score, one.rows[key]["tokens"]) for key, score in one.scores.items()}
        levels = accuracy_by_level(by_key, bins) if several else {}
        found.append(Curve(one.name, [Point(1, one.tokens, one.accuracy)], levels))
    for measure in ("majority_at", "pass_at") if several else ():
        sizes = {int(k): interval(value) for k, value in sampled.summary[measure].items()}
        each = sampled.tokens / len(next(iter(sampled.rows.values()))["candidates"])
        found.append(Curve(measure.replace("_at", "@k"), [Point(k, k * each, value) for k, value in sizes.items()]))
    return found


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m inference", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, nargs="+", help="eval/*.json; the first is what others are compared to")
    parser.add_argument("--output", type=Path, help="a picture, PNG or SVG")
    args = parser.parse_args()
    evaluations = [Evaluation(path) for path in args.results]
    try:
        print(table(evaluations))
        if args.output:
            draw(curves(evaluations), args.output)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

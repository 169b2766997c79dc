"""Compare the stages of a pipeline over several seeds.

    python -m pipelines.seeds outputs/journey-countdown-tiny-direct-seed0 outputs/journey-countdown-tiny-direct-seed1

Prints a Markdown table: the accuracy after each stage as a mean over the seeds with its 95% t interval, and the
difference from a baseline, paired by seed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conf.launch import checking_settings
from report.sweep import percent
from report.sweep_results import seed_mean
from run.files import read_json

Summary = Mapping[str, Any]  # summary.json of a pipeline


def read_summaries(folders: Sequence[Path]) -> list[Summary]:
    """The summaries of runs of one pipeline with different seeds.

    Raises:
        ValueError: a folder has no summary, or the runs differ in more than their seed.
    """
    summaries: list[Summary] = []
    for folder in folders:
        path = folder / "summary.json"
        if not path.is_file():
            raise ValueError(f"{folder} has no summary.json; give the folder of a pipeline that has run")
        summary = read_json(path, "run the pipeline again, which writes it")
        if "pipeline" not in summary:
            raise ValueError(f"{folder} is not the folder of a pipeline; give one that has pipeline.json")
        summaries.append(summary)
    for key in ("pipeline", "model", "teacher", "env"):
        if len(values := {str(summary[key]) for summary in summaries}) > 1:
            raise ValueError(f"the pipelines have different values of {key}: {', '.join(sorted(values))}")
    for name in dict.fromkeys(name for summary in summaries for name in summary.get("overrides", {})):
        if len(values := {_settings(summary, name) for summary in summaries}) > 1:
            raise ValueError(f"the pipelines have different overrides of {name}: {'; '.join(sorted(values))}")
    if len(seeds := [summary["seed"] for summary in summaries]) != len(set(seeds)):
        raise ValueError(f"the pipelines must have different seeds, got {', '.join(map(str, seeds))}")
    return summaries


def table(summaries: Sequence[Summary], baseline: str | None = None) -> list[str]:
    """A row for each stage whose model was evaluated in all runs.

    baseline  the stage with which the others are compared; None for the first one

    Raises:
        ValueError: no stage was evaluated in all runs, or not the baseline.
    """
    evaluated = [
        name
        for name in summaries[0]["stages"]
        if all(summary["stages"].get(name, {}).get("accuracy") for summary in summaries)
    ]
    if not evaluated:
        raise ValueError("no stage has been evaluated in all of these pipelines; run them again, to continue them")
    baseline = baseline or evaluated[0]
    if baseline not in evaluated:
        raise ValueError(f"baseline={baseline} must be one of {', '.join(evaluated)}")
    lines = [
        f"| stage | arm | pass@1 | vs. {baseline} (points) | majority | tokens per completion | mixed scripts | tokens "
        "trained on or generated | minutes |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    reference = _values(summaries, baseline, "pass_at_1")
    for name in evaluated:
        found = _values(summaries, name, "pass_at_1")
        differences = [one - other for one, other in zip(found, reference, strict=True)]
        cells = [
            name,
            summaries[0]["stages"][name]["arm"],
            percent(seed_mean(found)),
            "" if name == baseline else percent(seed_mean(differences), "+", ""),
            percent(seed_mean(votes)) if (votes := _values(summaries, name, "majority")) else "-",
            f"{_mean(_values(summaries, name, 'length')):.1f}",
            f"{_mean(_values(summaries, name, 'mixed')):.1%}",
            f"{_mean([summary['stages'][name]['tokens'] for summary in summaries]):,.0f}",
            f"{_mean([summary['stages'][name]['minutes'] for summary in summaries]):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _values(summaries: Sequence[Summary], stage: str, measure: str) -> list[float]:
    """A measure of the accuracy after a stage, of each seed; none if a seed lacks it, as one sample has no majority."""
    found = [summary["stages"][stage]["accuracy"][measure] for summary in summaries]
    return [] if None in found else [value["mean"] if isinstance(value, Mapping) else value for value in found]


def _settings(summary: Summary, name: str) -> str:
    """The overrides of a stage or of a kind of stage, without the folders of this seed."""
    return " ".join(each for each in summary.get("overrides", {}).get(name, []) if "outputs/" not in each)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m pipelines.seeds", description=__doc__, formatter_class=raw)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of pipelines that differ in their seed")
    parser.add_argument("--baseline", help="the stage with which the others are compared; the first one by default")
    args = parser.parse_args()
    with checking_settings():
        print("\n".join(table(read_summaries(args.folders), args.baseline)))


if __name__ == "__main__":
    main()

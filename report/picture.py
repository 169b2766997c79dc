"""Draw one or more runs as a PNG: python -m report.picture outputs/RUN ... --output FILE [--aha]

The default shows held-out accuracy, tries and length over training minutes. --aha shows them over steps, together
with the reflection behaviours and a dashed line at each aha event that the run recorded."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import matplotlib

from envs.behaviors import BEHAVIORS
from report.data import RecordedRun, is_number, read_run

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of the backend
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

DOTTED = ("eval/", "eval_reflection/")  # metrics that are measured only at evaluations


@dataclass(frozen=True)
class Subplot:
    """A subplot of one or several (metric, label); the lines of a single metric are labelled with their run."""

    title: str
    metrics: Sequence[tuple[str, str]]
    is_share: bool = False


SUBPLOTS = [
    Subplot("held-out accuracy, sampled", [("eval/sampled", "")], is_share=True),
    Subplot("tries per completion", [("rollout/tries", "")]),
    Subplot("tokens per completion", [("length/mean", "")]),
]
BEHAVIOR_SUBPLOT = Subplot(
    "completions that show a behaviour",
    [(f"reflection/{name}", name.replace("_", " ")) for name in BEHAVIORS],
    is_share=True,
)


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draw one subplot per metric and one line per run, over training minutes.

    Raises:
        ValueError: a folder is not a run, or no run has finished a step.
    """
    _draw([read_run(run) for run in runs], SUBPLOTS, output, over="minutes")


def draw_aha(runs: Sequence[Path], output: Path) -> None:
    """Draw the metrics and the reflection behaviours over steps, with a dashed line at each aha event.

    Raises:
        ValueError: a folder is not a run, or no run has finished a step.
    """
    _draw([read_run(run) for run in runs], [*SUBPLOTS, BEHAVIOR_SUBPLOT], output, over="step")


def _draw(runs: Sequence[RecordedRun], subplots: Sequence[Subplot], output: Path, over: str) -> None:
    measured = {name for run in runs for name in run.metric_names()}
    shown = [subplot for subplot in subplots if any(name in measured for name, _ in subplot.metrics)]
    if not shown:
        raise ValueError(f"nothing to draw: no step has finished in {', '.join(run.name for run in runs)}")
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.4), constrained_layout=True, squeeze=False)
    for axis, subplot in zip(axes[0], shown, strict=True):
        for index, run in enumerate(runs):
            _draw_run(axis, subplot, run, index, over)
        axis.set_title(subplot.title, fontsize=11)
        axis.set_xlabel("training minutes" if over == "minutes" else over)
        axis.set_ylim(bottom=0)
        if over == "step":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if subplot.is_share:
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        if subplot is shown[0] or len(subplot.metrics) > 1:
            axis.legend(fontsize=8, frameon=False)
    figure.savefig(output, dpi=130)
    plt.close(figure)


def _draw_run(axis: Axes, subplot: Subplot, run: RecordedRun, run_index: int, over: str) -> None:
    """Draw a run. Colours distinguish runs or, in a subplot of several metrics, the metrics."""
    several = len(subplot.metrics) > 1
    elapsed = accumulate((row.get("time/step", 0.0) for row in run.rows), initial=0.0)  # seconds before each row
    xs = [row["step"] if over == "step" else seconds / 60 for row, seconds in zip(run.rows, elapsed)]
    for metric_index, (name, label) in enumerate(subplot.metrics):
        points = [(x, row[name]) for x, row in zip(xs, run.rows) if is_number(row.get(name))]
        if not points:
            continue
        legend = (label if run_index == 0 else None) if several else run.name
        color = f"C{metric_index if several else run_index}"
        marker = "o" if name.startswith(DOTTED) else ""
        axis.plot(*zip(*points), color=color, marker=marker, markersize=4, label=legend)
    if over == "step":
        for event in run.events:
            if event["kind"] == "aha":
                axis.axvline(event["step"], color="0.25" if several else f"C{run_index}", linestyle="--", linewidth=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument("--output", type=Path, required=True, help="the PNG file to write")
    parser.add_argument("--aha", action="store_true", help="plot over steps, with behaviours and aha events")
    args = parser.parse_args()
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        (draw_aha if args.aha else draw)(args.runs, args.output)
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

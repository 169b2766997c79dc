"""One or more runs as a PNG: python -m report.picture outputs/RUN ... --output FILE [--aha].

Without --aha: held-out accuracy, tries and length over training minutes. With it: the aha moment, in
steps, with what reflection measures there are and a dashed line where the run saw the moment itself."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from report.data import Run, is_number, read_run

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

DOTTED = ("eval/", "eval_reflection/")  # measured at evaluations alone


@dataclass(frozen=True)
class Panel:
    """`names` are (metric, label); of a single one the line is labelled with its run."""

    title: str
    names: Sequence[tuple[str, str]]
    is_share: bool = False


PANELS = [
    Panel("held-out accuracy, sampled", [("eval/sampled", "")], is_share=True),
    Panel("tries a completion", [("rollout/tries", "")]),
    Panel("tokens a completion", [("length/mean", "")]),
]
BEHAVIORS = ("verification", "backtracking", "subgoals", "backward_chaining")
AHA_PANELS = [
    Panel("held-out accuracy, sampled", [("eval/sampled", "")], is_share=True),
    Panel("tries a completion", [("rollout/tries", "")]),
    Panel("tokens a completion", [("length/mean", "")]),
    Panel(
        "completions that show it",
        [(f"reflection/{name}", name.replace("_", " ")) for name in BEHAVIORS],
        is_share=True,
    ),
]


def draw(runs: Sequence[Path], output: Path) -> None:
    """One panel a measure, one line a run, over training minutes."""
    _draw([read_run(run) for run in runs], PANELS, output, over="minutes")


def draw_aha(runs: Sequence[Path], output: Path) -> None:
    """The aha moment of one run or more, over steps; measures that no run has are left out."""
    _draw([read_run(run) for run in runs], AHA_PANELS, output, over="step")


def _draw(runs: Sequence[Run], panels: Sequence[Panel], output: Path, over: str) -> None:
    measured = {name for run in runs for name in run.metric_names()}
    shown = [panel for panel in panels if any(name in measured for name, _ in panel.names)]
    if not shown:
        raise ValueError(f"there is nothing to draw: {', '.join(run.name for run in runs)} has no finished step yet")
    figure, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.4), constrained_layout=True, squeeze=False)
    for axis, panel in zip(axes[0], shown, strict=True):
        for place, run in enumerate(runs):
            _draw_run(axis, panel, run, place, over)
        axis.set_title(panel.title, fontsize=11)
        axis.set_xlabel("training minutes" if over == "minutes" else over)
        axis.set_ylim(bottom=0)
        if over == "step":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if panel.is_share:
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        if panel is shown[0] or len(panel.names) > 1:
            axis.legend(fontsize=8, frameon=False)
    figure.savefig(output, dpi=130)
    plt.close(figure)


def _draw_run(axis: Axes, panel: Panel, run: Run, place: int, over: str) -> None:
    """Colours are runs, or, in a panel of several measures, measures; the runs are then all alike."""
    several = len(panel.names) > 1
    for number, (name, label) in enumerate(panel.names):
        points = [(x, row[name]) for x, row in zip(positions(run, over), run.rows) if is_number(row.get(name))]
        if not points:
            continue
        named = (label if place == 0 else None) if several else run.name
        marker = "o" if name.startswith(DOTTED) else ""
        axis.plot(*zip(*points), color=f"C{number if several else place}", marker=marker, markersize=4, label=named)
    if over == "step":
        for event in run.events:
            if event["kind"] == "aha":
                axis.axvline(event["step"], color="0.25" if several else f"C{place}", linestyle="--", linewidth=1)


def positions(run: Run, over: str) -> list[float]:
    """Of each row: its step, or the minutes of training before it."""
    if over == "step":
        return [row["step"] for row in run.rows]
    minutes, elapsed = [], 0.0
    for row in run.rows:
        minutes.append(elapsed / 60)
        elapsed += row.get("time/step", 0.0)
    return minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--aha", action="store_true", help="the aha moment, over steps")
    args = parser.parse_args()
    try:
        (draw_aha if args.aha else draw)(args.runs, args.output)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

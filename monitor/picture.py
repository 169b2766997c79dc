"""The curves of one or more runs as a PNG: python -m monitor.picture outputs/RUN ... --output FILE."""

import argparse
from pathlib import Path

import matplotlib

from monitor.run_folder import RunFolder

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

PANELS = [
    ("held-out accuracy, sampled", "eval/sampled"),
    ("tries a completion", "rollout/tries"),
    ("tokens a completion", "length/mean"),
]


def draw(runs: list[Path], output: Path) -> None:
    """One panel a measure, one line a run, over training minutes."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.4), constrained_layout=True)
    for run in runs:
        rows = RunFolder(run).metric_rows()
        minutes, elapsed = [], 0.0
        for row in rows:
            minutes.append(elapsed / 60)
            elapsed += row.get("time/step", 0.0)
        for axis, (_, name) in zip(axes, PANELS, strict=True):
            points = [(minute, row[name]) for minute, row in zip(minutes, rows, strict=True) if name in row]
            axis.plot(*zip(*points, strict=True), marker="o" if name.startswith("eval") else "", label=run.name)
    for axis, (title, _) in zip(axes, PANELS, strict=True):
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("training minutes")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(output, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    draw(args.runs, args.output)


if __name__ == "__main__":
    main()

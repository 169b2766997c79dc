"""The figures of `make reproduce`: all effects with their intervals, coloured by verdict, and the curves of a claim."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np

from tools.reproduce.effects import Verdict
from tools.reproduce.measures import Unit
from tools.reproduce.words import bound_of, effect_text, interval_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import FuncFormatter, PercentFormatter  # noqa: E402

COLORS = {Verdict.HOLDS: "#2b7a4b", Verdict.REFUTED: "#b23a33", Verdict.UNDECIDED: "#9a6200"}
UNIT_TITLES = {
    Unit.SHARE: "difference in percentage points",
    Unit.COUNT: "difference per completion",
    Unit.RATIO: "factor",
}
ROW = 0.34  # inches
OCTAVE = math.log(2)

Output = Path | IO[bytes]
Row = tuple[str, Mapping[str, Any]]  # a label, and a comparison in results.json


def deciding_rows(results: Mapping[str, Any]) -> list[Row]:
    """The comparisons that decide a claim and have been run, in the order of the claims."""
    return [
        (f"{claim['number']}  {comparison['label']}", comparison)
        for claim in results["claims"].values()
        for comparison in claim["comparisons"]
        if comparison["at_least"] is not None and comparison["effect"] is not None
    ]


def draw_overview(results: Mapping[str, Any], output: Output, form: str = "png") -> None:
    """Draw all comparisons that decide a claim: the effect, its interval, and a vertical mark at what was claimed.
    Those of a unit share an axis.

    Raises:
        ValueError: nothing has been run.
    """
    rows = deciding_rows(results)
    if not rows:
        raise ValueError("nothing to draw: no comparison has been run")
    groups = [found for unit in Unit if (found := [row for row in rows if row[1]["unit"] == unit])]
    heights = [len(group) + 1.6 for group in groups]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(12, ROW * sum(heights) + 0.4), height_ratios=heights, squeeze=False,
        constrained_layout=True,
    )  # fmt: skip
    for axis, group in zip(axes[:, 0], groups, strict=True):
        _draw_group(axis, group)
    handles = [plt.Line2D([], [], color=color, marker="o", label=verdict) for verdict, color in COLORS.items()]
    handles.append(plt.Line2D([], [], color="0.35", marker="|", markersize=10, linestyle="", label="claimed: at least"))
    axes[0, 0].legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)
    _save(figure, output, form)


def _draw_group(axis: Axes, rows: Sequence[Row]) -> None:
    claims = list(dict.fromkeys(label.split()[0] for label, _ in rows))
    for place, (label, comparison) in enumerate(rows):
        if claims.index(label.split()[0]) % 2 == 0:
            axis.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0, zorder=0)  # to tell the claims apart
        effect, color = comparison["effect"], COLORS[Verdict(comparison["verdict"])]
        if effect["low"] is not None:
            axis.plot([effect["low"], effect["high"]], [place] * 2, color=color, linewidth=2.5, solid_capstyle="butt")
        axis.plot(effect["mean"], place, "o", color=color, markersize=5)
        axis.plot(bound_of(comparison), place, "|", color="0.35", markersize=13, markeredgewidth=1.4)
        interval = interval_text(comparison)
        text = effect_text(comparison) + (f"  ({interval})" if interval else "")
        axis.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=color)
    unit = Unit(rows[0][1]["unit"])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel(UNIT_TITLES[unit], fontsize=8)
    axis.grid(alpha=0.25, axis="x")
    axis.spines[["top", "right", "left"]].set_visible(False)
    if unit is Unit.SHARE:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}".replace("+0", "0")))
    elif unit is Unit.RATIO:
        low, high = axis.get_xlim()
        step = OCTAVE if high - low > 2 * OCTAVE else OCTAVE / 4
        axis.set_xticks([step * tick for tick in range(math.ceil(low / step), math.floor(high / step) + 1)])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{math.exp(value):.2g} x"))


def draw_curves(claim: Mapping[str, Any], output: Output, form: str = "png") -> None:
    """Draw the curves of a claim, one subplot each.

    Raises:
        ValueError: it has no curves, or they have not been run.
    """
    curves = claim["curves"]
    if not curves:
        raise ValueError("nothing to draw: the claim has no curves")
    size = (5.2 * len(curves), 3.2)
    figure, axes = plt.subplots(1, len(curves), figsize=size, constrained_layout=True, squeeze=False)
    for axis, curve in zip(axes[0], curves, strict=True):
        _draw_curve(axis, curve)
    _save(figure, output, form)


def _draw_curve(axis: Axes, curve: Mapping[str, Any]) -> None:
    is_ratio = curve["unit"] == Unit.RATIO
    for stage, points in curve["lines"].items():
        xs = [point["x"] for point in points]
        parts = [np.array([point[part] for point in points], dtype=float) for part in ("mean", "low", "high")]
        means, lows, highs = map(np.exp, parts) if is_ratio else parts
        [line] = axis.plot(xs, means, marker="o", markersize=4, label=stage.removeprefix("evaluate_"))
        axis.fill_between(xs, lows, highs, color=line.get_color(), alpha=0.18, linewidth=0)
    ticks = sorted({point["x"] for points in curve["lines"].values() for point in points})
    if curve["over"] == "level":
        axis.set_xticks(ticks)
        axis.set_xlabel("fifth of the problems, 1 is the easiest", fontsize=9)
    else:
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(x) for x in ticks], minor=False)
        axis.set_xlabel(curve["over"], fontsize=9)
    if is_ratio:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.02 if curve["unit"] == Unit.SHARE else None)
    if curve["unit"] == Unit.SHARE:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_title(curve["title"], fontsize=10)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)


def _save(figure: Any, output: Output, form: str) -> None:
    figure.savefig(output, format=form, dpi=130)
    plt.close(figure)

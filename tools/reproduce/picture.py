"""The figures of `make reproduce`: effects with their intervals, coloured by verdict, and the curves of a claim."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np

from tools.reproduce.effects import Verdict
from tools.reproduce.measures import Unit
from tools.reproduce.words import bound_of, effect_text, interval_text, is_level

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import FuncFormatter, PercentFormatter  # noqa: E402

COLORS = {Verdict.HOLDS: "#2b7a4b", Verdict.REFUTED: "#b23a33", Verdict.UNDECIDED: "#9a6200"}
SHOWN_ONLY = "0.35"  # the colour of a comparison that decides nothing
UNIT_TITLES = {
    Unit.SHARE: "difference in percentage points",
    Unit.COUNT: "difference per completion",
    Unit.RATIO: "factor",
}
ROW = 0.34  # inches
POWERS = [2.0**power for power in range(-10, 11)]  # ticks of an axis of factors, and those of a short one
FACTORS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0]

Output = Path | IO[bytes]
Row = tuple[int, str, Mapping[str, Any]]  # the number of a claim, a label, and a comparison in results.json


def deciding_rows(results: Mapping[str, Any]) -> list[Row]:
    """The comparisons that decide a claim and have been run, in the order of the claims."""
    return [
        (claim["number"], f"{claim['number']}  {comparison['label']}", comparison)
        for claim in results["claims"].values()
        for comparison in claim["comparisons"]
        if comparison["at_least"] is not None and comparison["effect"] is not None
    ]


def rows_of(claim: Mapping[str, Any]) -> list[Row]:
    """All comparisons of a claim that have been run, except for values of a measure, which are no differences."""
    return [
        (claim["number"], comparison["label"], comparison)
        for comparison in claim["comparisons"]
        if comparison["effect"] is not None and not is_level(comparison)
    ]


def draw_overview(results: Mapping[str, Any], output: Output, form: str = "png") -> None:
    """Draw all comparisons that decide a claim: the effect of each seed, their mean with its interval, and a vertical
    mark at what was claimed. Those of a unit share an axis.

    Raises:
        ValueError: nothing has been run.
    """
    rows = deciding_rows(results)
    if not rows:
        raise ValueError("nothing to draw: no comparison has been run")
    figure = plt.figure(figsize=(12, _height(rows)), constrained_layout=True)
    _draw_rows(figure, rows)
    _save(figure, output, form)


def draw_claim(claim: Mapping[str, Any], output: Output, form: str = "png") -> None:
    """Draw the comparisons of a claim as in the overview, those that decide nothing in grey, and below them its curves,
    one subplot each.

    Raises:
        ValueError: no comparison has been run.
    """
    rows, curves = rows_of(claim), claim["curves"]
    if not rows:
        raise ValueError("nothing to draw: no comparison of the claim has been run")
    heights = [_height(rows), 3.2] if curves else [_height(rows)]
    figure = plt.figure(figsize=(12, sum(heights)), constrained_layout=True)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_rows(parts[0], rows)
    for part in parts[1:]:
        for axis, curve in zip(part.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
            _draw_curve(axis, curve)
    _save(figure, output, form)


def _by_unit(rows: Sequence[Row]) -> list[list[Row]]:
    return [found for unit in Unit if (found := [row for row in rows if row[2]["unit"] == unit])]


def _height(rows: Sequence[Row]) -> float:
    """Inches that the rows take, with an axis and its title for each unit."""
    return ROW * (len(rows) + 1.6 * len(_by_unit(rows))) + 0.4


def _draw_rows(figure: Any, rows: Sequence[Row]) -> None:
    groups = _by_unit(rows)
    axes = figure.subplots(len(groups), 1, height_ratios=[len(group) + 1.6 for group in groups], squeeze=False)[:, 0]
    for axis, group in zip(axes, groups, strict=True):
        _draw_group(axis, group)
    handles = [plt.Line2D([], [], color=color, marker="o", label=verdict) for verdict, color in COLORS.items()]
    for marker, size, label in (("o", 3, "one seed"), ("|", 10, "claimed: at least")):
        look = plt.Line2D([], [], color=SHOWN_ONLY, linestyle="", marker=marker, markersize=size, label=label)
        look.set_markerfacecolor("none")
        handles.append(look)
    axes[0].legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=5, fontsize=8, frameon=False)


def _draw_group(axis: Axes, rows: Sequence[Row]) -> None:
    claims = list(dict.fromkeys(number for number, _, _ in rows))
    for place, (number, _, comparison) in enumerate(rows):
        if claims.index(number) % 2 == 0 and len(claims) > 1:
            axis.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0, zorder=0)  # to tell the claims apart
        effect, decides = comparison["effect"], comparison["at_least"] is not None
        color = COLORS[Verdict(comparison["verdict"])] if decides else SHOWN_ONLY
        if effect["low"] is not None:
            axis.plot([effect["low"], effect["high"]], [place] * 2, color=color, linewidth=2.5, solid_capstyle="butt")
        axis.plot(effect["mean"], place, "o", color=color, markersize=5)
        if len(effect["by_seed"]) > 1:
            seeds = [place + 0.28] * len(effect["by_seed"])
            axis.plot(effect["by_seed"], seeds, "o", color=color, markersize=3, markerfacecolor="none")
        if decides:
            axis.plot(bound_of(comparison), place, "|", color=SHOWN_ONLY, markersize=13, markeredgewidth=1.4)
        interval = interval_text(comparison)
        text = effect_text(comparison) + (f"  ({interval})" if interval else "")
        axis.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=color)
    unit = Unit(rows[0][2]["unit"])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [label for _, label, _ in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel(UNIT_TITLES[unit], fontsize=8)
    axis.grid(alpha=0.25, axis="x")
    axis.spines[["top", "right", "left"]].set_visible(False)
    if unit is Unit.SHARE:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}".replace("+0", "0")))
    elif unit is Unit.RATIO:
        low, high = axis.get_xlim()
        ticks = POWERS if high - low > math.log(4) else FACTORS
        axis.set_xticks([math.log(tick) for tick in ticks if low <= math.log(tick) <= high])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{math.exp(value):.2g} x"))


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
        for formatted in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            formatted(FuncFormatter(lambda value, _: f"{value:g}"))
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

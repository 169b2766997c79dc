"""Plots of inference-time scaling: accuracy over tokens per problem, and accuracy by difficulty level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import matplotlib

from inference.statistics import Interval
from report.sweep_picture import Color, apart, distinct_colors

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of the backend
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter  # noqa: E402

MARKERS = "osD^vPX<>*"  # so that strategies can be told apart without colors
LABEL_GAP = 0.055  # fraction of the panel height
LABEL_START = 1.06  # fraction of the panel width
EDGE = 0.02  # margin of accuracy below 0% and above 100%, so that markers there are not clipped
GROUP = 0.74  # fraction of the width of a level that the points of all strategies share


@dataclass(frozen=True)
class Point:
    """A strategy at one size.

    size    number of samples, beams or rounds
    tokens  mean number of generated tokens per problem, > 0
    """

    size: int
    tokens: float
    accuracy: Interval


@dataclass(frozen=True)
class Curve:
    """A strategy at its sizes.

    by_level  difficulty level (1 is the easiest) -> accuracy at one of the sizes; a strategy without levels is omitted
              from the second panel
    """

    name: str
    points: Sequence[Point]
    by_level: Mapping[int, Interval] = field(default_factory=dict)


def draw(curves: Sequence[Curve], output: Path) -> None:
    """Write the picture, as PNG or SVG by the suffix of `output`. The second panel appears only if there are levels.

    Raises:
        ValueError: there is no curve, two curves have the same name, or a curve has no points or a point without
            tokens.
    """
    _check(curves)
    by_level = any(curve.by_level for curve in curves)
    figure, axes = plt.subplots(
        1, 2 if by_level else 1, figsize=(13 if by_level else 7.5, 4.6), constrained_layout=True, squeeze=False
    )
    looks = palette([curve.name for curve in curves])
    draw_scaling(axes[0, 0], curves, looks)
    if by_level:
        draw_levels(axes[0, 1], [curve for curve in curves if curve.by_level], looks)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.set_axisbelow(True)
    figure.savefig(output, dpi=130)
    plt.close(figure)


def palette(names: Sequence[str]) -> dict[str, tuple[Color, str]]:
    """Return name -> (color, marker), independent of the order of the names."""
    return dict(zip(sorted(names), zip(distinct_colors(len(names)), cycle(MARKERS)), strict=True))


def draw_scaling(axis: Axes, curves: Sequence[Curve], looks: Mapping[str, tuple[Color, str]]) -> None:
    """Plot accuracy with its interval over tokens per problem, and label each line beside the panel."""
    for curve in curves:
        color, marker = looks[curve.name]
        points = sorted(curve.points, key=lambda point: point.tokens)
        axis.plot(
            [point.tokens for point in points],
            [point.accuracy.mean for point in points],
            color=color,
            marker=marker,
            markersize=5,
            linewidth=1.4,
        )
        axis.vlines(
            [point.tokens for point in points],
            [point.accuracy.low for point in points],
            [point.accuracy.high for point in points],
            color=color,
            alpha=0.35,
            linewidth=1.6,
        )
    axis.set_xscale("log")
    accuracies = [point.accuracy for curve in curves for point in curve.points]
    least, most = min(one.low for one in accuracies), max(one.high for one in accuracies)
    room = max(EDGE, 0.05 * (most - least))
    axis.set_ylim(max(-EDGE, least - room), min(1 + EDGE, most + room))
    _set_token_ticks(axis)
    _label(axis, curves, looks)
    axis.grid(alpha=0.25)
    axis.set_xlabel("tokens generated per problem (log scale)")
    axis.set_title("accuracy and 95% interval, by strategy and size", fontsize=11)


def _set_token_ticks(axis: Axes) -> None:
    """Label 1, 2 and 5 of each decade; by default a range of less than one decade has a single label."""
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def _label(axis: Axes, curves: Sequence[Curve], looks: Mapping[str, tuple[Color, str]]) -> None:
    """Write each name with its sizes right of the panel, near the height of the end of its line and connected to it."""
    ends = [max(curve.points, key=lambda point: point.tokens) for curve in curves]
    bottom, top = axis.get_ylim()
    gap = LABEL_GAP * (top - bottom)
    heights = apart([end.accuracy.mean for end in ends], gap, top)
    for index in sorted(range(len(ends)), key=lambda index: heights[index]):
        heights[index] = bottom = max(heights[index], bottom)
        bottom += gap
    for curve, end, height in zip(curves, ends, heights, strict=True):
        color, marker = looks[curve.name]
        beside = axis.get_yaxis_transform()  # x as a fraction of the panel width, y in data coordinates
        axis.plot(
            LABEL_START - 0.02, height, marker, color=color, markersize=5, transform=beside, clip_on=False, zorder=3
        )
        axis.annotate(
            _with_sizes(curve),
            xy=(end.tokens, end.accuracy.mean),
            xytext=(LABEL_START, height),
            textcoords=beside,
            va="center",
            fontsize=9,
            color=color,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": color,
                "alpha": 0.5,
                "linestyle": ":",  # unlike the lines of data
                "linewidth": 0.9,
                "shrinkB": 3,
            },
        )


def _with_sizes(curve: Curve) -> str:
    sizes = [point.size for point in curve.points]
    if max(sizes) == 1:
        return curve.name
    return f"{curve.name}, {min(sizes)}" + (f"-{max(sizes)}" if len(set(sizes)) > 1 else "")


def draw_levels(axis: Axes, curves: Sequence[Curve], looks: Mapping[str, tuple[Color, str]]) -> None:
    """Plot accuracy by difficulty level, the strategies side by side within each level in the given order."""
    levels = sorted({level for curve in curves for level in curve.by_level})
    step = GROUP / len(curves)
    for index, curve in enumerate(curves):
        color, marker = looks[curve.name]
        shift = (index - (len(curves) - 1) / 2) * step
        for level, accuracy in curve.by_level.items():
            axis.vlines(level + shift, accuracy.low, accuracy.high, color=color, alpha=0.35, linewidth=1.6)
            axis.plot(level + shift, accuracy.mean, marker, color=color, markersize=5)
    for level in levels[1::2]:
        axis.axvspan(level - 0.5, level + 0.5, color="0.96", linewidth=0, zorder=0)
    axis.set_xticks(levels, [_level_name(level, levels) for level in levels])
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(levels[0] - 0.5, levels[-1] + 0.5)
    axis.set_ylim(-EDGE, 1 + EDGE)
    axis.yaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="y", alpha=0.25)
    axis.set_xlabel("difficulty level, equal numbers of problems")
    axis.set_title("accuracy and 95% interval, by difficulty level", fontsize=11)


def _level_name(level: int, levels: Sequence[int]) -> str:
    return f"{level}" + {levels[0]: "\neasiest", levels[-1]: "\nhardest"}.get(level, "")


def _check(curves: Sequence[Curve]) -> None:
    if not curves:
        raise ValueError("the picture needs at least one strategy, got none")
    names = [curve.name for curve in curves]
    if double := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"strategies must have distinct names, got {double[0]!r} twice")
    for curve in curves:
        if not curve.points:
            raise ValueError(f"{curve.name} must have at least one point, got none")
        if low := [point.tokens for point in curve.points if not point.tokens > 0]:
            raise ValueError(f"tokens must be > 0 on a logarithmic axis, got {low[0]} for {curve.name}")

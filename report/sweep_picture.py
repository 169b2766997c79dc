"""Draw a sweep: final accuracy by variant and seed, and accuracy over tokens."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from report.sweep_results import SweepVariant, mean_curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend must be chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import EngFormatter, PercentFormatter  # noqa: E402

Color = tuple[float, float, float, float]
BASELINE: Color = (0.1, 0.1, 0.1, 1.0)
LABEL_GAP = 0.05  # fraction of the height of the axes


def draw(variants: Sequence[SweepVariant], output: Path) -> None:
    """Write the picture. variants: in the order of the table, each with a finished job."""
    height = max(3.4, 1.2 + 0.34 * len(variants))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, height), constrained_layout=True)
    colors = palette(variants)
    draw_final(left, variants, colors)
    draw_curves(right, variants, colors)
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=130)
    plt.close(figure)


def palette(variants: Sequence[SweepVariant]) -> dict[str, Color]:
    """Choose a color for each variant, independent of the order of the table. A single baseline is black."""
    single = sum(variant.is_baseline for variant in variants) == 1
    names = sorted(variant.name for variant in variants if not (single and variant.is_baseline))
    colors = zip(names, distinct_colors(len(names)), strict=True)
    return dict.fromkeys((variant.name for variant in variants), BASELINE) | dict(colors)


def distinct_colors(count: int) -> list[Color]:
    """Return colors that can be told apart, none of them gray."""
    ten, many = plt.get_cmap("tab10"), plt.get_cmap("turbo")
    few = [ten(i) for i in range(10) if i != 7]  # without the gray
    bright = [many((i + 0.5) / count) for i in range(count)]
    return few[:count] if count <= len(few) else [(0.8 * r, 0.8 * g, 0.8 * b, 1.0) for r, g, b, _ in bright]


def draw_final(axis: Axes, variants: Sequence[SweepVariant], colors: dict[str, Color]) -> None:
    """Draw final accuracy: a dot for each seed, a bar for the mean and its interval."""
    for row, variant in enumerate(variants):
        color, final = colors[variant.name], variant.accuracy("final")
        seeds = [result.accuracy("final") for result in variant.results]
        axis.scatter(seeds, [row + 0.22] * len(seeds), s=16, color=color, alpha=0.5, linewidths=0)
        axis.errorbar(final.mean, row, xerr=final.half, fmt="o", color=color, capsize=3, markersize=6)
    if len(baseline := [variant for variant in variants if variant.is_baseline]) == 1:
        axis.axvline(baseline[0].accuracy("final").mean, color=BASELINE, alpha=0.4, linestyle="--", linewidth=1)
    axis.set_yticks(range(len(variants)), [variant.name for variant in variants])
    for label, variant in zip(axis.get_yticklabels(), variants, strict=True):
        label.set_color(colors[variant.name])
    axis.set_ylim(len(variants) - 0.4, -0.6)
    least, most = axis.get_xlim()
    axis.set_xlim(max(least, -0.02), min(most, 1.02))  # the interval of two seeds may exceed 0 to 100%
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_title("final held-out accuracy: seeds, mean, 95% interval", fontsize=11)


def draw_curves(axis: Axes, variants: Sequence[SweepVariant], colors: dict[str, Color]) -> None:
    """Draw held-out accuracy over tokens, the mean over seeds. Each line is labeled at its end."""
    ends = []
    for variant in variants:
        tokens, accuracy = mean_curve([result.curve for result in variant.results])
        axis.plot(tokens, accuracy, color=colors[variant.name], linewidth=2 if variant.is_baseline else 1.4)
        ends.append((tokens[-1], accuracy[-1], variant.name))
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    top = axis.get_ylim()[1]
    labels = apart([y for _, y, _ in ends], LABEL_GAP * top, top)
    edge = max(x for x, _, _ in ends)
    for (x, y, name), label in zip(ends, labels, strict=True):
        axis.annotate(
            name,
            xy=(x, y),
            xytext=(edge * 1.05, label),
            va="center",
            fontsize=8,
            color=colors[name],
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": colors[name],
                "alpha": 0.4,
                "linewidth": 0.7,
                "shrinkB": 0,
            },
        )
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_xlabel("completion tokens")
    axis.set_title("held-out accuracy, mean over seeds", fontsize=11)


def apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Move the heights as little as possible so that they are `gap` apart, in the same order and at most `top`.

    Neighbors that are too close are merged into a block around their mean, until no two blocks touch."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _bottom(blocks[-1], heights, gap) - _top(blocks[-2], heights, gap) < gap:
            last = blocks.pop()
            blocks[-1] += last
    moved = [0.0] * len(heights)
    for block in blocks:
        for rank, i in enumerate(block):
            moved[i] = _bottom(block, heights, gap) + rank * gap
    for i in reversed(order):
        moved[i] = min(moved[i], top)
        top = moved[i] - gap
    return moved


def _bottom(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return sum(heights[i] for i in block) / len(block) - gap * (len(block) - 1) / 2


def _top(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return _bottom(block, heights, gap) + gap * (len(block) - 1)

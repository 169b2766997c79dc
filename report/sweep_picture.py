"""A sweep as a picture: final accuracy by variant and seed, and accuracy over tokens."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from report.sweep_results import Variant, mean_curve

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.ticker import EngFormatter, PercentFormatter  # noqa: E402

Color = tuple[float, float, float, float]
BASELINE: Color = (0.1, 0.1, 0.1, 1.0)
LABEL_GAP = 0.05  # of the height of the panel


def draw(variants: Sequence[Variant], output: Path) -> None:
    """`variants` have each a finished job, and come in the order of the table."""
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


def palette(variants: Sequence[Variant]) -> dict[str, Color]:
    """A colour a variant that stays its own while others change place; a single baseline is black."""
    single = sum(variant.is_baseline for variant in variants) == 1
    names = sorted(variant.name for variant in variants if not (single and variant.is_baseline))
    ten, many = plt.get_cmap("tab10"), plt.get_cmap("turbo")
    few = [ten(place) for place in range(10) if place != 7]  # not the grey
    bright = [many((place + 0.5) / len(names)) for place in range(len(names))]
    chosen = few if len(names) <= len(few) else [(0.8 * r, 0.8 * g, 0.8 * b, 1.0) for r, g, b, _ in bright]
    return dict.fromkeys((variant.name for variant in variants), BASELINE) | dict(zip(names, chosen, strict=False))


def draw_final(axis: Axes, variants: Sequence[Variant], colors: dict[str, Color]) -> None:
    """Final accuracy: a dot a seed, a bar for the mean and its interval."""
    for place, variant in enumerate(variants):
        color, final = colors[variant.name], variant.estimate("final")
        seeds = [result.accuracy("final") for result in variant.results]
        axis.scatter(seeds, [place + 0.22] * len(seeds), s=16, color=color, alpha=0.5, linewidths=0)
        axis.errorbar(final.mean, place, xerr=final.half, fmt="o", color=color, capsize=3, markersize=6)
    if len(baseline := [variant for variant in variants if variant.is_baseline]) == 1:
        axis.axvline(baseline[0].estimate("final").mean, color=BASELINE, alpha=0.4, linestyle="--", linewidth=1)
    axis.set_yticks(range(len(variants)), [variant.name for variant in variants])
    for label, variant in zip(axis.get_yticklabels(), variants, strict=True):
        label.set_color(colors[variant.name])
    axis.set_ylim(len(variants) - 0.4, -0.6)
    least, most = axis.get_xlim()
    axis.set_xlim(max(least, -0.02), min(most, 1.02))  # the interval of two seeds may leave 0..100%
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_title("final held-out accuracy: seeds, mean, 95% interval", fontsize=11)


def draw_curves(axis: Axes, variants: Sequence[Variant], colors: dict[str, Color]) -> None:
    """Held-out accuracy over tokens, the mean over seeds, each line with its name at its end."""
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
    axis.set_xlabel("completion tokens trained on")
    axis.set_title("held-out accuracy, mean over seeds", fontsize=11)


def apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """The heights moved as little as it takes to lie `gap` apart, in the same order and below `top`.

    Neighbours that are too close become one block around their mean, until no two blocks touch."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _bottom(blocks[-1], heights, gap) - _top(blocks[-2], heights, gap) < gap:
            last = blocks.pop()
            blocks[-1] += last
    placed = [0.0] * len(heights)
    for block in blocks:
        for rank, i in enumerate(block):
            placed[i] = _bottom(block, heights, gap) + rank * gap
    for i in reversed(order):
        placed[i] = min(placed[i], top)
        top = placed[i] - gap
    return placed


def _bottom(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return sum(heights[i] for i in block) / len(block) - gap * (len(block) - 1) / 2


def _top(block: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return _bottom(block, heights, gap) + gap * (len(block) - 1)

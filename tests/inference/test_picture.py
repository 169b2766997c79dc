import struct

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from inference.picture import LABEL_GAP, Curve, Point, draw, draw_levels, draw_scaling, palette
from inference.statistics import Interval, wilson

NAMES = (
    "greedy",
    "majority vote",
    "best of n",
    "weighted best of n",
    "beam search",
    "lookahead search",
    "revisions",
    "budget forcing",
)


def made_up(n=512):
    """Eight strategies whose accuracy rises with the tokens to similar values."""
    random = np.random.default_rng(0)
    curves = []
    for index, name in enumerate(NAMES):
        sizes = [1] if name == "greedy" else [1, 2, 4, 8, 16, 32][: 4 + index % 3]
        points = []
        for size in sizes:
            share = 0.44 if name == "greedy" else 0.3 + 0.075 * np.log2(size) + 0.01 * index + random.normal(0, 0.01)
            points.append(Point(size, 80 * size * (1 + 0.15 * index), wilson(round(n * min(share, 0.97)), n)))
        last = points[-1].accuracy.mean
        shares = np.clip(last + 0.2 * (2 - np.arange(5)) + random.normal(0, 0.03, 5), 0, 1)
        by_level = {level + 1: wilson(round(n / 5 * share), round(n / 5)) for level, share in enumerate(shares)}
        curves.append(Curve(name, points, by_level))
    return curves


def labels_of(axis):
    return {text.get_text(): text.xyann[1] for text in axis.texts}


def test_a_picture_of_eight_strategies(tmp_path):
    draw(made_up(), tmp_path / "scaling.png")
    content = (tmp_path / "scaling.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1690, 598)  # 13 x 4.6 inches at 130 dpi
    assert not plt.get_fignums()


def test_without_levels_there_is_one_panel(tmp_path):
    draw([Curve(curve.name, curve.points) for curve in made_up()], tmp_path / "scaling.png")
    width, _ = struct.unpack(">II", (tmp_path / "scaling.png").read_bytes()[16:24])
    assert width == 975  # 7.5 inches


def test_labels_do_not_overlap_on_the_page():
    curves = [Curve(name, [Point(1, 100 + i, Interval(0.4, 0.5, 0.6))]) for i, name in enumerate(NAMES)]
    figure, axis = plt.subplots(figsize=(6.5, 4.6))
    draw_scaling(axis, curves, palette(NAMES))
    figure.canvas.draw()
    # The extent of an annotation would include its leader line.
    boxes = sorted((Text.get_window_extent(text) for text in axis.texts), key=lambda box: box.y0)
    plt.close(figure)
    assert len(boxes) == len(NAMES)
    assert all(upper.y0 >= lower.y1 - 1 for lower, upper in zip(boxes, boxes[1:]))  # with one pixel of tolerance


def test_labels_are_at_the_ends_of_lines_that_are_far_apart():
    curves = [
        Curve("low", [Point(1, 10, Interval(0, 0.1, 0.2)), Point(2, 20, Interval(0.1, 0.2, 0.3))]),
        Curve("high", [Point(2, 20, Interval(0.8, 0.9, 1)), Point(1, 10, Interval(0.1, 0.2, 0.3))]),
    ]
    figure, axis = plt.subplots()
    draw_scaling(axis, curves, palette(["low", "high"]))
    plt.close(figure)
    assert labels_of(axis) == pytest.approx({"low, 1-2": 0.2, "high, 1-2": 0.9})
    assert axis.get_xscale() == "log"
    assert axis.get_ylim() == (-0.02, 1.02)  # the intervals fill 0..1
    assert list(axis.lines[1].get_xdata()) in ([10, 20], [0.2])  # points are sorted by tokens


def test_labels_of_equal_ends_are_a_gap_apart():
    curves = [Curve(name, [Point(1, 10, Interval(0.4, 0.5, 0.5))]) for name in "ab"]
    figure, axis = plt.subplots()
    draw_scaling(axis, curves, palette("ab"))
    plt.close(figure)
    first, second = sorted(labels_of(axis).values())
    assert second - first == pytest.approx(LABEL_GAP * 0.14)  # of the visible range 0.38..0.52


def test_labels_of_low_ends_are_lifted_into_the_panel():
    curves = [Curve(name, [Point(8, 10, Interval(0, 0, 0.5))]) for name in "abc"]
    figure, axis = plt.subplots()
    draw_scaling(axis, curves, palette("abc"))
    plt.close(figure)
    # The range is -0.02..0.525. The middle label would be at 0, and the lowest one gap below.
    gap = LABEL_GAP * 0.545
    assert sorted(labels_of(axis).values()) == pytest.approx([-0.02, -0.02 + gap, -0.02 + 2 * gap])
    assert set(labels_of(axis)) == {"a, 8", "b, 8", "c, 8"}


def test_the_points_of_a_level_are_side_by_side():
    figure, axis = plt.subplots()
    draw_levels(axis, made_up(), palette(NAMES))
    plt.close(figure)
    positions = sorted(float(line.get_xdata()[0]) for line in axis.lines)
    assert len(positions) == 40
    for level in range(1, 6):
        inside = [position for position in positions if level - 0.5 < position < level + 0.5]
        assert len(set(inside)) == 8 and np.mean(inside) == pytest.approx(level)


def test_colors_and_markers_do_not_depend_on_the_order():
    assert palette(NAMES) == palette(NAMES[::-1])
    assert len(set(palette(NAMES).values())) == 8
    many = palette([str(i) for i in range(20)])
    assert len({color for color, _ in many.values()}) == 20


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "at least one strategy, got none"),
        ([Curve("a", [])], "a must have at least one point, got none"),
        ([Curve("a", [Point(1, 0, Interval(0, 0, 0))])], "tokens must be > 0 on a logarithmic axis, got 0 for a"),
        ([Curve("a", [Point(1, 9, Interval(0, 0, 0))])] * 2, "distinct names, got 'a' twice"),
    ],
)
def test_invalid_curves_are_refused(curves, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        draw(curves, tmp_path / "scaling.png")


def test_an_accuracy_of_zero_everywhere_is_drawn(tmp_path):
    draw([Curve("a", [Point(1, 9, Interval(0, 0, 0))], {1: Interval(0, 0, 0)})], tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").is_file()

import io
import math

import pytest

from tools.reproduce.effects import Verdict
from tools.reproduce.picture import COLORS, SHOWN_ONLY, deciding_rows, draw_claim, draw_overview, rows_of


def compared(label, at_least=0.1, unit="share", arms=2, run=True):
    """A comparison in results.json."""
    effect = {"mean": 0.2, "low": 0.1, "high": 0.3, "by_seed": [0.15, 0.25], "seeds": 2, "problems": 4}
    verdict = None if at_least is None else Verdict.HOLDS
    return {
        "label": label, "unit": unit, "of": "tokens", "at_least": at_least, "verdict": verdict, "is_difference": False,
        "arms": [{"times": 1.0}] * arms, "effect": effect if run else None,
    }  # fmt: skip


def drawn(draw, of):
    """The text of a picture."""
    output = io.BytesIO()
    draw(of, output, "svg")
    return output.getvalue().decode()


@pytest.fixture(autouse=True)
def text_as_text(monkeypatch):
    monkeypatch.setitem(pytest.importorskip("matplotlib").rcParams, "svg.fonttype", "none")


def test_the_overview_has_what_decides_and_has_been_run():
    one = [compared("first"), compared("shown", None), compared("later", run=False)]
    results = {"claims": {"a": {"number": 1, "comparisons": one}, "b": {"number": 2, "comparisons": [compared("b")]}}}
    assert [label for _, label, _ in deciding_rows(results)] == ["1  first", "2  b"]
    svg = drawn(draw_overview, results)
    assert "1  first" in svg and "2  b" in svg and "shown" not in svg and "+20.0 points" in svg


def test_a_claim_shows_all_differences_and_no_values():
    comparisons = [compared("decides"), compared("shown", None), compared("value", None, arms=1)]
    claim = {"number": 3, "comparisons": comparisons, "curves": []}
    assert [label for _, label, _ in rows_of(claim)] == ["decides", "shown"]
    svg = drawn(draw_claim, claim)
    assert "decides" in svg and "shown" in svg and "value" not in svg
    assert COLORS[Verdict.HOLDS] in svg and "#595959" in svg  # SHOWN_ONLY, 0.35 of 255
    assert SHOWN_ONLY == "0.35"


def test_a_claim_with_curves_has_them_below():
    points = [{"x": x, "mean": 0.5, "low": 0.4, "high": 0.6} for x in (1, 2, 4)]
    curve = {"title": "over k", "over": "k", "unit": "share", "lines": {"evaluate_tiny": points}}
    ratios = compared("ratio", math.log(2), unit="ratio")
    svg = drawn(draw_claim, {"number": 1, "comparisons": [compared("share"), ratios], "curves": [curve]})
    assert "over k" in svg and "tiny" in svg and "factor" in svg and "difference in percentage points" in svg


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no comparison has been run"):
        draw_overview({"claims": {}}, io.BytesIO())
    with pytest.raises(ValueError, match="no comparison of the claim has been run"):
        draw_claim({"number": 1, "comparisons": [compared("a", run=False)], "curves": []}, io.BytesIO())

"""Write report.html of `make reproduce`: the verdicts on one page that works offline."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from report.page import document, read_script
from run.files import replace_text
from tools.reproduce.effects import Verdict
from tools.reproduce.picture import deciding_rows, draw_claim, draw_overview, rows_of
from tools.reproduce.words import arm_texts, claimed_text, effect_text, interval_text, p_text

SCRIPT = Path(__file__).with_name("page.js")


def write_page(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write the page and return its path."""
    page = folder / "report.html"
    scripts = [read_script("dom.js") + "\n" + SCRIPT.read_text(encoding="utf-8")]
    replace_text(page, [document("Claims about reasoning models", page_data(results), scripts)])
    return page


def page_data(results: Mapping[str, Any]) -> dict[str, Any]:
    """All data of the page as JSON values. Numbers are formatted here, as in the documentation."""
    verdicts = [claim["verdict"] for claim in results["claims"].values()]
    head = ("written", "git", "cores", "seeds", "usd_per_hour", "watts", "minutes", "usd", "kwh")
    return {
        **{key: results[key] for key in head},
        "counts": {verdict: verdicts.count(verdict) for verdict in Verdict},
        "overview": _picture(draw_overview, results) if deciding_rows(results) else None,
        "claims": [_claim(name, claim) for name, claim in results["claims"].items()],
        "runs": [],  # dom.js expects those of the report of a run
    }


def _claim(name: str, claim: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in claim.items() if key != "curves"} | {
        "name": name,
        "comparisons": [_comparison(each) for each in claim["comparisons"]],
        "figure": _picture(draw_claim, claim) if rows_of(claim) else None,
    }


def _comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison in words; most cells are empty if it has not been run or cannot be measured."""
    found = {
        "label": comparison["label"],
        "verdict": comparison["verdict"],
        "claimed": claimed_text(comparison),
        "effect": comparison["note"],
        "interval": "",
        "p": "",
        "seeds": "",
        "problems": "",
        "arms": [],
    }
    if comparison["effect"] is None:
        return found
    return found | {
        "effect": effect_text(comparison),
        "interval": interval_text(comparison),
        "p": p_text(comparison),
        "seeds": comparison["effect"]["seeds"],
        "problems": comparison["effect"]["problems"],
        "arms": arm_texts(comparison),
    }


def _picture(draw: Callable[..., None], of: Mapping[str, Any]) -> str:
    """A picture as the address of an image that contains it."""
    drawn = io.BytesIO()
    draw(of, drawn, "svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"

"""Write summary.json and report.html of a pipeline: one page for all its stages."""

import time
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipelines.commands import Pipeline
from pipelines.ledger import Ledger
from pipelines.results import StageResult, read_results
from pipelines.transcripts import read_transcripts
from report.page import document, read_script
from run.files import replace_json, replace_text

SCRIPT = Path(__file__).with_name("page.js")
SHARED_SCRIPTS = ("dom.js", "samples.js")  # of the report of a run


def write_report(ledger: Ledger) -> Path:
    """Write both files and return the path of the page."""
    ledger = with_earlier_stages(ledger)
    results = read_results(ledger)
    summary = summarize(ledger, results)
    page = ledger.pipeline.folder / "report.html"
    replace_json(ledger.pipeline.folder / "summary.json", summary)
    replace_text(page, [render(page_data(ledger, summary))])
    return page


def with_earlier_stages(ledger: Ledger) -> Ledger:
    """The ledger with the stages, too, that commands with another `only` have run with the same settings."""
    wide = copy(ledger)
    wide.records = dict(ledger.records)
    wide.pipeline = Pipeline(replace(ledger.pipeline.cfg, only=[]))
    wide.forget_changed(except_for=ledger.pipeline.stages)  # which the command has compared when it started
    chosen = ledger.pipeline.stages.keys() | wide.records.keys()
    wide.pipeline.stages = {name: stage for name, stage in wide.pipeline.stages.items() if name in chosen}
    return wide


def summarize(ledger: Ledger, results: list[StageResult]) -> dict[str, Any]:
    """The content of summary.json."""
    cfg = ledger.pipeline.cfg
    return {
        "pipeline": cfg.name,
        "run": cfg.run,
        "model": cfg.model,
        "teacher": cfg.teacher,
        "env": cfg.env,
        "seed": cfg.seed,
        "overrides": {**cfg.overrides, **{name: stage.overrides for name, stage in cfg.stages.items()}},
        "stages": {result.name: {k: v for k, v in asdict(result).items() if k != "name"} for result in results},
        "tokens": sum(result.tokens for result in results),
        "minutes": sum(result.minutes for result in results),
        "usd": sum(result.usd for result in results),
    }


def page_data(ledger: Ledger, summary: dict[str, Any]) -> dict[str, Any]:
    """All data of the page as JSON values."""
    return {
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "pipeline": summary,
        "transcripts": read_transcripts(ledger),
        "commands": {name: record.command for name, record in ledger.records.items()},
        # What the shared scripts expect of the report of a run.
        "runs": [],
        "samples": {"rows": [], "total": 0},
    }


def render(data: dict[str, Any]) -> str:
    shared = "\n".join(map(read_script, SHARED_SCRIPTS))
    return document(data["pipeline"]["run"], data, [shared + "\n" + SCRIPT.read_text(encoding="utf-8")])

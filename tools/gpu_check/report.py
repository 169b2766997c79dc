"""The result of a check: report.json for programs, a table on the terminal and a page to look at."""

import html
import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from run.files import replace_text
from tools.gpu_check.stage import Measurement

PACKAGES = ("torch", "transformers", "ray")  # the rollout stage reports vLLM, whose CPU build has another name
STYLES = {"passed": "green", "failed": "bold red"}


@dataclass(frozen=True)
class StageResult:
    """status: "passed" or "failed"; problem: why it failed, unless a measurement says so."""

    name: str
    status: str
    seconds: float
    measurements: list[Measurement]
    problem: str | None = None


@dataclass
class Report:
    """stages: those that have ended."""

    created: str
    gpus: list[str]
    versions: dict[str, str]
    model: str
    device: str
    minutes: float
    stages: list[StageResult] = field(default_factory=list)

    @classmethod
    def of_this_machine(cls, model: str, device: str, minutes: float) -> "Report":
        # Only the stages use the GPU; here NVML counts the devices.
        gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if device == "cuda" else []
        versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
        return cls(datetime.now(UTC).isoformat(timespec="seconds"), gpus, versions, model, device, minutes)

    @property
    def title(self) -> str:
        where = f"{len(self.gpus)} x {self.gpus[0]}" if self.gpus else "the CPU"
        return f"gpu-check of {self.model} on {where}"


def write_report(report: Report, folder: Path) -> None:
    for name, text in (("report.json", json.dumps(asdict(report), indent=1)), ("report.html", page(report))):
        replace_text(folder / name, [text])


def show_stage(console: Console, stage: StageResult) -> None:
    """Print the stage's status, and a table of what it measured."""
    console.print(Text(f"{stage.name}: {stage.status} in {stage.seconds:.0f} s", style=STYLES[stage.status]))
    if stage.measurements:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("", overflow="fold")
        for heading in ("measured", "planned", "error"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in stage.measurements:
            table.add_row(*cells(each), style="red" if each.passed is False else None)
        console.print(table)
    if stage.problem is not None:
        console.print(stage.problem, style="red", markup=False, highlight=False)


def cells(each: Measurement) -> tuple[str, str, str, str]:
    """Name, measured value, planned value and error, as they are displayed."""
    value = each.value if isinstance(each.value, str) else f"{number(each.value)} {each.unit}".strip()
    mark = {None: "", True: " ✓", False: " ✗"}[each.passed]
    planned = "" if each.planned is None else number(each.planned)
    return each.name, value + mark, planned, "" if each.error is None else f"{each.error:+.0%}"


def number(value: float) -> str:
    """Three significant digits, and thousands in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def page(report: Report) -> str:
    """A page that needs no other file."""
    sections = "".join(section(stage) for stage in report.stages)
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    facts = f"{report.created}. {versions}. Limit {report.minutes:g} minutes."
    return PAGE.substitute(title=html.escape(report.title), facts=html.escape(facts), sections=sections)


def section(stage: StageResult) -> str:
    rows = "".join(row(each) for each in stage.measurements)
    head = "<tr><th></th><th>measured</th><th>planned</th><th>error</th></tr>"
    table = f"<table>{head}{rows}</table>" if rows else ""
    problem = f"<pre>{html.escape(stage.problem)}</pre>" if stage.problem is not None else ""
    status = f'<span class="{stage.status}">{stage.status}</span>'
    return f"<section><h2>{stage.name} {status} <small>{stage.seconds:.0f} s</small></h2>{table}{problem}</section>\n"


def row(each: Measurement) -> str:
    kind = ' class="wrong"' if each.passed is False else ""
    return f"<tr{kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(each)) + "</tr>"


PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; } small { font-weight: normal; opacity: .6; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); font-weight: normal; }
th { opacity: .6; width: 12%; } th:nth-child(1) { width: 42%; } th:nth-child(2) { width: 34%; }
td { overflow-wrap: anywhere; } td:first-child { text-align: left; }
.passed { color: #2a8f4d; } .failed, .wrong td { color: #c8372d; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); font-size: 13px; }
</style>
<h1>$title</h1>
<p>$facts</p>
$sections</html>
""")

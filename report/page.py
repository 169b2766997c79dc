"""The report as one HTML file that needs nothing else, neither a network nor a server.

What a model wrote is hostile: it reaches the page as JSON that cannot end its script element, and the
page's script puts it into the document as text alone. A content security policy that names the two
scripts by their hashes keeps any other from running, should that ever fail.
"""

import base64
import hashlib
import html
import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report.data import Run, curves, differences, name_runs, read_run
from report.figures import figures, head
from report.panels import phases, present_sections
from report.samples import MAX_BYTES, MAX_ROWS, STAGE_PROBLEMS, embed, read_entries, stages

HERE = Path(__file__).parent
SCRIPTS = ("dom.js", "charts.js", "samples.js", "page.js")


def write_report(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of a run, or of several side by side, and return where it lies: by default
    report.html in the run's folder, or in the folder around the first of several.

    Raises:
        ValueError: a folder holds no run.
    """
    folders = list(dict.fromkeys(Path(folder) for folder in folders))
    if not folders:
        raise ValueError("RUN is empty; give the name of a run in outputs/, or its folder")
    runs = [read_run(folder) for folder in folders]
    output = output or (folders[0] if len(runs) == 1 else folders[0].resolve().parent) / "report.html"
    page = render(page_data(runs, name_runs(folders)))
    temporary = output.with_name(output.name + ".writing")
    temporary.write_text(page, encoding="utf-8", newline="\n")
    temporary.rename(output)  # whoever looks at it meanwhile sees the old one or the new one
    return output


def page_data(runs: Sequence[Run], names: Sequence[str], rows: int = MAX_ROWS, size: int = MAX_BYTES) -> dict[str, Any]:
    """All that the page shows, as JSON values."""
    entries = [read_entries(run) for run in runs]
    metrics = list(dict.fromkeys(name for run in runs for name in run.metric_names()))
    of_each = max(1, STAGE_PROBLEMS // len(runs))
    samples = embed(runs, entries, rows, size)
    return {
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "runs": [
            {
                "name": name,
                **head(run),
                "figures": figures(run),
                "curves": curves(run),
                "events": run.events,
                "config": run.config,
                "notes": run.notes,
                "stages": stages(run, index, of_each),
            }
            for run, name, index in zip(runs, names, entries, strict=True)
        ],
        "sections": present_sections(metrics),
        "phases": phases(metrics),
        "differences": differences([run.config for run in runs]),
        "samples": {"rows": samples, "total": sum(len(index) for index in entries)},
    }


def render(data: dict[str, Any]) -> str:
    """The page around the data."""
    from plotly.offline import get_plotlyjs

    plotly = _newlines(get_plotlyjs())
    scripts = _newlines("\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS))
    title = " and ".join(run["name"] for run in data["runs"][:3]) + (" and others" if len(data["runs"]) > 3 else "")
    parts = {
        "TITLE": html.escape(title),
        "POLICY": policy([plotly, scripts]),
        "STYLE": (HERE / "report.css").read_text(encoding="utf-8"),
        "DATA": safe_json(data),
        "PLOTLY": plotly,
        "SCRIPT": scripts,
    }
    template = (HERE / "template.html").read_text(encoding="utf-8")
    # One pass: what is put in is not searched for more places to put something in.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def safe_json(value: Any) -> str:
    """JSON that may stand inside a script element: all that HTML or JavaScript could take for more than
    text is escaped, non-ASCII included, and numbers that JSON does not have are null."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def finite(value: Any) -> Any:
    """The same value with None for infinities and NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


def policy(scripts: Sequence[str]) -> str:
    """Nothing may be loaded from anywhere, and only these scripts may run. Plotly sets styles as it draws,
    and saves pictures by way of data: and blob: addresses."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _newlines(text: str) -> str:
    """As an HTML parser reads them; the hashes are of that."""
    return text.replace("\r\n", "\n").replace("\r", "\n")

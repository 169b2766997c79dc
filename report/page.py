"""Write the report as a single HTML file that needs neither a network nor a server.

Text written by a model is untrusted. It is embedded as JSON that cannot end its script element, and the script of
the page inserts it into the document as text only. As a second line of defense, the content security policy allows
only the scripts of the page, identified by their hashes.
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

from report.charts import phases, present_sections
from report.data import RecordedRun, curves, differences, read_run
from report.figures import figures, head
from report.samples import MAX_BYTES, MAX_ROWS, STAGE_PROBLEMS, embed, read_entries, stages
from run.files import distinct_names, replace_text

HERE = Path(__file__).parent
SCRIPTS = ("dom.js", "charts.js", "samples.js", "page.js")


def write_report(folders: Sequence[Path], output: Path | None = None, ended: bool = False) -> Path:
    """Write the report of a run, or of several runs side by side, and return its path.

    Args:
        output: the file to write. The default is report.html in the folder of the run, or, for several runs, in the
            parent folder of the first, or runs.html beside the page of a pipeline.
        ended: whether it is known that no process is writing the folders.

    Raises:
        ValueError: no folder is given, or a folder does not contain a run.
    """
    folders = list(dict.fromkeys(Path(folder) for folder in folders))
    if not folders:
        raise ValueError("RUN is empty; give the name of a run in outputs/, or the path of a run folder")
    runs = [read_run(folder, ended) for folder in folders]
    folder = folders[0] if len(runs) == 1 else folders[0].resolve().parent
    output = output or folder / ("runs.html" if (folder / "pipeline.json").is_file() else "report.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    page = render(page_data(runs, distinct_names(folders)))
    replace_text(output, [page])
    return output


def refresh_report(folder: Path) -> None:
    """Write the report of a finished run if it is missing, or older than the run's end.

    Raises:
        ValueError: the folder does not contain a run.
    """
    page, summary = folder / "report.html", folder / "summary.json"
    if not page.is_file() or page.stat().st_mtime_ns < summary.stat().st_mtime_ns:
        write_report([folder])


def page_data(
    runs: Sequence[RecordedRun], names: Sequence[str], rows: int = MAX_ROWS, size: int = MAX_BYTES
) -> dict[str, Any]:
    """All data of the page as JSON values, with at most `rows` samples of about `size` bytes in total."""
    entries = [read_entries(run) for run in runs]
    metrics = list(dict.fromkeys(name for run in runs for name in run.metric_names()))
    stage_problems = max(1, STAGE_PROBLEMS // len(runs))
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
                "stages": stages(run, index, stage_problems),
            }
            for run, name, index in zip(runs, names, entries, strict=True)
        ],
        "sections": present_sections(metrics),
        "phases": phases(metrics),
        "differences": differences([run.config for run in runs]),
        "samples": {"rows": samples, "total": sum(len(index) for index in entries)},
    }


def render(data: dict[str, Any]) -> str:
    """The HTML page for the data of `page_data`."""
    from plotly.offline import get_plotlyjs

    title = " and ".join(run["name"] for run in data["runs"][:3]) + (" and others" if len(data["runs"]) > 3 else "")
    return document(title, data, [get_plotlyjs(), "\n".join(map(read_script, SCRIPTS))])


def read_script(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def document(title: str, data: Any, scripts: Sequence[str]) -> str:
    """A self-contained HTML page: scripts that run in this order and find `data` as the JSON of the element #data."""
    scripts = [_newlines(script) for script in scripts]
    parts = {
        "TITLE": html.escape(title),
        "POLICY": policy(scripts),
        "STYLE": (HERE / "report.css").read_text(encoding="utf-8"),
        "DATA": safe_json(data),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    template = (HERE / "template.html").read_text(encoding="utf-8")
    # A single pass, so that inserted text is not searched for further placeholders.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def safe_json(value: Any) -> str:
    """JSON for embedding in a script element. Characters with a meaning in HTML or JavaScript and all non-ASCII
    characters are escaped; NaN and infinities become null."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def finite(value: Any) -> Any:
    """A copy of a JSON value in which NaN and infinities are replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def policy(scripts: Sequence[str]) -> str:
    """A content security policy that forbids loading resources and allows only the given scripts.

    Plotly needs inline styles for drawing, and data: and blob: URLs for saving images."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _newlines(text: str) -> str:
    """Normalize line ends as an HTML parser does, since the browser hashes the normalized script."""
    return text.replace("\r\n", "\n").replace("\r", "\n")

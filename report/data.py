"""What a run folder says at this moment: the run may be finished, going on, or killed in mid-line."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from run.folder import RunFolder, flatten

MAX_POINTS = 2000  # a curve on a screen has no room for more
FRESH_SECONDS = 300.0
EVENT_TEXT = 4000


@dataclass(frozen=True)
class Run:
    """A run folder as read. `rows` has one entry a step, in order; `config` has dotted keys; `events` are
    {"step", "kind", "name", "message", "advice", "sample"}; `notes` say what could not be read."""

    name: str
    folder: RunFolder
    rows: list[dict[str, Any]]
    config: dict[str, Any]
    summary: dict[str, Any]
    events: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def state(self, now: float | None = None) -> str:
        """finished, going on, or stopped early; the last two differ by how long nothing was written."""
        trained = sum("time/step" in row for row in self.rows)
        if self.summary and self.summary.get("steps", 0) >= trained:
            return "finished"
        files = [path for path in (self.folder.metrics, self.folder.samples, self.folder.config) if path.is_file()]
        written = max(path.stat().st_mtime for path in files)
        longest = max((row.get("time/step", 0.0) + row.get("time/evaluate", 0.0) for row in self.rows), default=0.0)
        patience = max(FRESH_SECONDS, 5 * longest)
        return "going on" if (now or time.time()) - written < patience else "stopped early"

    def evaluations(self, name: str = "eval/sampled") -> list[dict[str, Any]]:
        return [row for row in self.rows if is_number(row.get(name))]

    def total(self, name: str) -> float:
        return float(sum(row[name] for row in self.rows if is_number(row.get(name))))

    def metric_names(self) -> list[str]:
        """Metrics that are numbers in some row, in the order in which they first occur."""
        return list(dict.fromkeys(k for row in self.rows for k, v in row.items() if k != "step" and is_number(v)))


def read_run(path: Path) -> Run:
    """Read a run folder, whatever of it is there.

    Raises:
        ValueError: nothing of a run is there, or its config.yaml is not one.
    """
    folder = RunFolder(path)
    if not (folder.metrics.is_file() or folder.config.is_file()):
        raise ValueError(
            f"RUN={path} has no metrics.jsonl and no config.yaml; give the name of a run in outputs/, or its folder"
        )
    notes: list[str] = []
    rows: dict[int, dict[str, Any]] = {}
    for row in _rows_and_notes(folder.metrics, notes):
        rows.setdefault(row["step"], {}).update(row)
    return Run(
        name=path.resolve().name,
        folder=folder,
        rows=[rows[step] for step in sorted(rows)],
        config=_read_config(folder.config),
        summary=_read_summary(folder.summary, notes),
        events=[_event(row) for row in _rows_and_notes(folder.events, notes)],
        notes=notes,
    )


def name_runs(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other: a/x and b/x, but x and y."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({p[-length:] for p in parts}) < len(set(parts)):
        length += 1
    return ["/".join(p[-length:]) for p in parts]


def json_lines(path: Path) -> Iterator[tuple[int, int, Any]]:
    """(byte offset, bytes, value) of each line; None for one that is no object with a step, such as a torn one.

    Unlike read_rows, which a resuming run trusts, this reads on after such a line."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        offset = 0
        for line in file:
            yield offset, len(line), parse_line(line)
            offset += len(line)


def parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def curves(run: Run) -> dict[str, Any]:
    """Columns: step, tokens and training minutes before each step, and every metric, with None for gaps."""
    tokens, minutes, spent, elapsed = [], [], 0.0, 0.0
    for row in run.rows:
        tokens.append(int(spent))
        minutes.append(elapsed / 60)
        spent += _number(row, "rollout/tokens")
        elapsed += _number(row, "time/step")
    stride = math.ceil(len(run.rows) / MAX_POINTS)
    kept = [i for i, row in enumerate(run.rows) if i % max(1, stride) == 0 or "eval/sampled" in row]
    return {
        "steps": [run.rows[i]["step"] for i in kept],
        "tokens": [tokens[i] for i in kept],
        "minutes": [round(minutes[i], 4) for i in kept],
        "metrics": {name: [_short(run.rows[i].get(name)) for i in kept] for name in run.metric_names()},
        "stride": stride,
    }


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings that are not the same in all runs; `run` itself is its name, not a setting."""
    keys = sorted({key for config in configs for key in config} - {"run"})
    values = {key: [config.get(key) for config in configs] for key in keys}
    return [{"key": key, "values": found} for key, found in values.items() if any(v != found[0] for v in found)]


def _short(value: object) -> float | None:
    return float(f"{value:.8g}") if is_number(value) else None


def _number(row: Mapping[str, Any], name: str) -> float:
    return row[name] if is_number(row.get(name)) else 0.0


def _rows_and_notes(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    rows = [row for _, _, row in json_lines(path)]
    if broken := sum(row is None for row in rows):
        notes.append(f"{path.name}: {broken} of {len(rows)} lines could not be read and were left out")
    return [row for row in rows if row is not None]


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    return flatten(tree) if isinstance(tree, dict) else {}


def _read_summary(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        notes.append("summary.json could not be read and was left out")
        return {}
    return summary if isinstance(summary, dict) else {}


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    sample = row.get("sample")
    if isinstance(sample, dict) and "completion" in sample:
        sample = f"{sample.get('prompt', '')}{sample['completion']}"
    elif sample is not None and not isinstance(sample, str):
        sample = json.dumps(sample)
    texts = {key: str(row.get(key) or "") for key in ("kind", "name", "message", "advice")}
    return {"step": row.get("since", row["step"]), **texts, "sample": (sample or "")[:EVENT_TEXT]}

"""Read a run folder for the report. The run may be finished, still running, or killed while writing a line."""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from run.aha import PREFIX, AhaWatch
from run.cost import is_complete, step_tokens
from run.folder import RunFolder, flatten

MAX_POINTS = 2000  # per curve; more than a screen can show
IDLE_SECONDS = 300.0  # a run that has written nothing for longer may have stopped
MAX_EVENT_TEXT = 4000  # characters of a prompt, a completion or another sample of an event
MAX_EVENTS = 500


class RunState(StrEnum):
    FINISHED = "finished"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True)
class RecordedRun:
    """The contents of a run folder.

    rows    one dictionary of metrics per step, ordered by step
    config  all settings, with dotted keys
    events  {"step", "kind", "name", "message", "advice", "sample"}
    notes   warnings about lines or files that could not be read
    ended   whether it is known that no process is writing the folder
    """

    name: str
    folder: RunFolder
    rows: list[dict[str, Any]]
    config: dict[str, Any]
    summary: dict[str, Any]
    events: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    ended: bool = False

    def state(self, now: float | None = None) -> RunState:
        """Whether the run is finished, running or stopped. A run that has not reached its number of steps or tokens
        counts as stopped after it has written summary.json, as at the end of its budget, or has written nothing for 5
        minutes, or for five times its longest step if that is longer.

        Args:
            now: seconds since the epoch; the present time by default.
        """
        steps, tokens = (_number_or_0(self.summary, name) for name in ("steps", "tokens"))
        num_steps, num_tokens = self.config.get("num_steps") or 0, self.config.get("num_tokens")
        if self.summary and is_complete(steps, tokens, num_steps, num_tokens):
            return RunState.FINISHED
        files = [path for path in (self.folder.metrics, self.folder.samples, self.folder.config) if path.is_file()]
        written = max(path.stat().st_mtime for path in files)
        if self.ended or (self.summary and self.folder.summary.stat().st_mtime >= written):
            return RunState.STOPPED
        times = ("time/step", "time/evaluate")
        longest = max((sum(_number_or_0(row, name) for name in times) for row in self.rows), default=0.0)
        idle = (now or time.time()) - written
        return RunState.RUNNING if idle < max(IDLE_SECONDS, 5 * longest) else RunState.STOPPED

    def evaluations(self, name: str) -> list[dict[str, Any]]:
        """The rows that have the metric `name`."""
        return [row for row in self.rows if is_number(row.get(name))]

    def total(self, name: str) -> float:
        return float(sum(row[name] for row in self.rows if is_number(row.get(name))))

    @property
    def tokens(self) -> float:
        """Completion tokens of all steps."""
        return float(sum(map(_tokens, self.rows)))

    def metric_names(self) -> list[str]:
        """All numeric metrics, in the order of their first occurrence."""
        names: dict[str, None] = {}
        for row in self.rows:
            names |= dict.fromkeys(k for k in row if k not in names and k != "step" and is_number(row[k]))
        return list(names)


def read_run(path: Path, ended: bool = False) -> RecordedRun:
    """Read a run folder in which any file may be missing or incomplete.

    Args:
        ended: whether it is known that no process is writing the folder.

    Raises:
        ValueError: the folder has neither metrics.jsonl nor config.yaml, or config.yaml is not valid YAML.
    """
    folder = RunFolder(path)
    if not (folder.metrics.is_file() or folder.config.is_file()):
        raise ValueError(
            f"RUN={path} contains neither metrics.jsonl nor config.yaml; give the name of a run in outputs/, or the "
            "path of a run folder"
        )
    notes: list[str] = []
    rows: dict[int, dict[str, Any]] = {}
    for row in _valid_rows(folder.metrics, notes):
        if (earlier := rows.setdefault(row["step"], row)) is not row:
            earlier.update(row)
    ordered = [rows[step] for step in sorted(rows)]
    return RecordedRun(
        name=path.resolve().name,
        folder=folder,
        rows=ordered,
        config=_read_config(folder.config),
        summary=_read_summary(folder.summary, notes),
        events=_events(_valid_rows(folder.events, notes), _aha_moments(ordered), notes),
        notes=notes,
        ended=ended,
    )


def json_lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield (byte offset, size in bytes, row) of each line; the row is None if the line cannot be parsed.

    Unlike run.files.read_rows, this continues after such a line."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        offset = 0
        for line in file:
            yield offset, len(line), parse_line(line)
            offset += len(line)


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line; None if the line is not an object with an integer `step`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def curves(run: RecordedRun) -> dict[str, Any]:
    """Columns for the plots: step, tokens and training minutes before each step, and every metric (None for gaps).

    Above MAX_POINTS rows, only every `stride`th row and as many evaluations are kept."""
    tokens, minutes, tokens_so_far, seconds_so_far = [], [], 0.0, 0.0
    for row in run.rows:
        tokens.append(int(tokens_so_far))
        minutes.append(seconds_so_far / 60)
        tokens_so_far += _tokens(row)
        seconds_so_far += _number_or_0(row, "time/step")
    stride = math.ceil(len(run.rows) / MAX_POINTS)
    evaluated = [i for i, row in enumerate(run.rows) if "eval/sampled" in row or "eval/loss" in row]
    of_evaluations = max(1, math.ceil(len(evaluated) / MAX_POINTS))
    kept = sorted({*range(0, len(run.rows), max(1, stride)), *evaluated[::of_evaluations], *evaluated[-1:]})
    return {
        "steps": [run.rows[i]["step"] for i in kept],
        "tokens": [tokens[i] for i in kept],
        "minutes": [round(minutes[i], 4) for i in kept],
        "metrics": {name: [_rounded(run.rows[i].get(name)) for i in kept] for name in run.metric_names()},
        "stride": stride,
    }


def is_number(value: object) -> bool:
    """Whether a value is a finite number; booleans do not count."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings that differ between runs, except `run`, which is the name of the run."""
    keys = sorted({key for config in configs for key in config} - {"run"})
    values = {key: [config.get(key) for config in configs] for key in keys}
    return [{"key": key, "values": found} for key, found in values.items() if any(v != found[0] for v in found)]


def _rounded(value: object) -> float | None:
    return float(f"{value:.8g}") if is_number(value) else None


def _tokens(row: Mapping[str, Any]) -> float:
    return tokens if is_number(tokens := step_tokens(row)) else 0.0


def _number_or_0(row: Mapping[str, Any], name: str) -> float:
    return row[name] if is_number(row.get(name)) else 0.0


def _valid_rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of a JSONL file; a warning about invalid lines is appended to `notes`."""
    rows: list[dict[str, Any]] = []
    lines = 0
    for _, _, row in json_lines(path):
        lines += 1
        if row is not None:
            rows.append({sys.intern(name): value for name, value in row.items()})  # each line has its own copies
    if invalid := lines - len(rows):
        notes.append(f"{path.name}: skipped {invalid} of {lines} lines that could not be parsed")
    return rows


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    return flatten(tree) if isinstance(tree, dict) else {}


def _read_summary(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        notes.append("summary.json: skipped, because it could not be parsed")
        return {}
    return summary if isinstance(summary, dict) else {}


def _aha_moments(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """(measure, first step) of the aha events that hold at the end of these rows."""
    watch = AhaWatch()
    for row in rows:
        watch.add({k: v for k, v in row.items() if k == "step" or (k.startswith(PREFIX) and is_number(v))})
    return [(moment.measure, moment.step) for moment in watch.moments()]


def _events(
    rows: Sequence[Mapping[str, Any]], moments: Sequence[tuple[str, int]], notes: list[str]
) -> list[dict[str, Any]]:
    """The aha events that still hold, and the last alerts up to MAX_EVENTS."""
    rows = [row for row in rows if row.get("kind") != "aha" or (row.get("name"), row.get("since")) in moments]
    alerts = [row for row in rows if row.get("kind") == "alert"]
    dropped = {id(row) for row in alerts[:-MAX_EVENTS]}
    if dropped:
        notes.append(f"events.jsonl: of {len(alerts)} alerts, the last {MAX_EVENTS} are shown")
    return [_event(row) for row in rows if id(row) not in dropped]


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    sample = row.get("sample")
    if isinstance(sample, dict) and "completion" in sample:
        sample = _shortened(str(sample.get("prompt", ""))) + _shortened(str(sample["completion"]))
    elif sample is not None and not isinstance(sample, str):
        sample = _shortened(json.dumps(sample))
    texts = {key: str(row.get(key) or "") for key in ("kind", "name", "message", "advice")}
    return {"step": row.get("since", row["step"]), **texts, "sample": sample or ""}


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_EVENT_TEXT else f"{text[:MAX_EVENT_TEXT]}…"

"""The interface of a tracker, and helpers that several trackers use."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

TAG_LENGTH = 64  # the limit of wandb
Cell = str | int | float | None


class Tracker(Protocol):
    """Records a run in addition to the files of its folder."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log the metrics of a step, named group/name; values that are not numbers are skipped."""

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log rows of samples.jsonl, all from one step and of one kind."""

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        """Log an event with the keys kind ("aha" or "alert"), name, message, and optional details."""

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        """Finish with the content of summary.json, or with None if the run did not complete.

        Returns a message for the user, such as where to view the run, or an empty string."""


@dataclass(frozen=True)
class RunInfo:
    """The run that a tracker records.

    config   all settings of the run, nested; `git` holds the commit if the code is a git checkout
    tags     the components of the run: {"model": "tiny", "env": "countdown", ...}
    started  whether this tracker has logged an earlier part of this run
    """

    folder: Path
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    project: str
    entity: str | None = None
    group: str | None = None
    mode: str = "auto"
    started: bool = False

    @property
    def name(self) -> str:
        """The full name of the run; "sweeps/<sweep>/<job>" in a sweep."""
        return str(self.config.get("run", self.folder.name))

    def tag_list(self) -> list[str]:
        return [f"{key}:{value}"[:TAG_LENGTH] for key, value in self.tags.items()]


def tags_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The choices that distinguish the runs of a sweep. A reward mix is named after its components."""
    tags = {key: str(config[key]["name"]) for key in ("model", "env", "algorithm") if "name" in config.get(key, {})}
    weights = config.get("reward", {}).get("weights", {})
    return tags | ({"reward": "+".join(weights)} if weights else {})


def finite_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers in `metrics`. NaN and infinite values are removed and counted in `tracker/not_finite`: they
    would invalidate the maxima in wandb, and MLflow would store infinity as 1.8e308. metrics.jsonl keeps them."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return finite | ({"tracker/not_finite": len(numbers) - len(finite)} if len(finite) < len(numbers) else {})


def as_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Cell]]]:
    """(columns, cells) of rows whose keys may differ; values other than strings, numbers and booleans become JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows]


def _cell(value: Any) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, default=str)


def event_text(event: Mapping[str, Any]) -> str:
    """The message of an event, followed by its details as JSON in an indented line, which Markdown shows verbatim."""
    details = {key: value for key, value in event.items() if key not in ("kind", "name", "message")}
    message = str(event.get("message", ""))
    return f"{message}\n\n    {json.dumps(details, default=str)}" if details else message


def stored_id(path: Path, create: Callable[[], str]) -> str:
    """The id stored in a file of the run folder; if there is none, create an id and store it."""
    if not path.is_file():
        path.write_text(create(), encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()

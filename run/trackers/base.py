"""What a tracker is, and what the trackers share."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

TAG_LENGTH = 64  # wandb takes no longer ones


class Tracker(Protocol):
    """Where a run is shown beside the files of its folder."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """The metrics of a step, named group/name; what is no number is left out."""

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of samples.jsonl, all of one step and one kind."""

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        """Something worth a look: {"kind": "aha" or "alert", "name", "message", and what else there is}."""

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        """Finish, with the content of summary.json, or None where the run did not come to its end.
        Returns what the user should know, or nothing."""


class NoTracker:
    """Keeps to the files of the run folder."""

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        pass

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        pass

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        pass

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        return ""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is opened with.

    config  all settings of the run, nested, with `git` where the code is a checkout
    tags    what the run is made of: {"model": "tiny", "env": "countdown", ...}
    begun   this tracker has logged an earlier part of this run
    """

    folder: Path
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    project: str
    entity: str | None = None
    group: str | None = None
    mode: str = "auto"
    begun: bool = False

    @property
    def name(self) -> str:
        """The run's whole name, "sweeps/<sweep>/<job>" in a sweep."""
        return str(self.config.get("run", self.folder.name))

    def tag_list(self) -> list[str]:
        return [f"{key}:{value}"[:TAG_LENGTH] for key, value in self.tags.items()]


def tags_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The choices that tell the runs of a sweep apart. A reward mix has no name but its components."""
    tags = {key: str(config[key]["name"]) for key in ("model", "env", "algorithm") if "name" in config.get(key, {})}
    weights = config.get("reward", {}).get("weights", {})
    return tags | ({"reward": "+".join(weights)} if weights else {})


def finite_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among `metrics`. NaN and infinity are counted in `tracker/not_finite` and left out: they
    would spoil wandb's maxima, and MLflow would store infinity as 1.8e308. metrics.jsonl keeps them."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return finite | ({"tracker/not_finite": len(numbers) - len(finite)} if len(finite) < len(numbers) else {})


def as_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """(columns, cells) of rows whose keys may differ; what is no text, number or truth value becomes JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, default=str)


def event_text(event: Mapping[str, Any]) -> str:
    """The message, and below it whatever else the event holds."""
    details = {key: value for key, value in event.items() if key not in ("kind", "name", "message")}
    message = str(event.get("message", ""))
    return f"{message}\n{json.dumps(details, default=str)}" if details else message


def kept_id(path: Path, fresh: str) -> str:
    """The id that lies in a run folder; `fresh` is put there first where there is none."""
    if not path.is_file():
        path.write_text(fresh, encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()

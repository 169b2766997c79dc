"""MLflow: a SQLite store in the run folder, or the server given by MLFLOW_TRACKING_URI."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from run.folder import flatten
from run.trackers.base import RunInfo, as_table, event_text, finite_numbers, stored_id

# The limits of MLflow.
PARAMS_PER_BATCH = 100
METRICS_PER_BATCH = 1000
NAME_LENGTH = 250
VALUE_LENGTH = 6000


class MlflowTracker:
    """An MLflow run whose id is stored in the run folder, so that a resumed run continues it.

    It uses MlflowClient only; the functions of the mlflow module would create a second store in the working
    directory."""

    def __init__(self, info: RunInfo) -> None:
        # An unreachable server must cost minutes at most, not an hour of retries. Telemetry is off.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.Metric, self.Param, self.RunTag = Metric, Param, RunTag
        folder = info.folder.resolve()
        server = os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = server or f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(self.uri, registry_uri=self.uri)
        known = self.client.get_experiment_by_name(info.project)
        artifacts = None if server else (folder / "mlflow_artifacts").as_uri()
        experiment = known.experiment_id if known else self.client.create_experiment(info.project, artifacts)

        def create() -> str:
            return str(self.client.create_run(experiment, run_name=info.name).info.run_id)

        self.run = stored_id(info.folder / "mlflow_id.txt", create)
        self.client.update_run(self.run, status="RUNNING")
        self._log_settings(info)

    def _log_settings(self, info: RunInfo) -> None:
        """Log settings as parameters and choices as tags. MLflow parameters are immutable, so a setting that a
        resumed run has changed, such as num_steps, becomes a tag."""
        settings = {_name(key): str(value)[:VALUE_LENGTH] for key, value in flatten(info.config).items()}
        before = self.client.get_run(self.run).data.params
        fresh = [self.Param(key, value) for key, value in settings.items() if key not in before]
        for some in _batches(fresh, PARAMS_PER_BATCH):
            self.client.log_batch(self.run, params=some)
        changed = {f"changed.{key}": value for key, value in settings.items() if before.get(key, value) != value}
        git = info.config.get("git") or {}
        tags = {**info.tags, **changed, "group": info.group, "mlflow.source.git.commit": git.get("commit")}
        self.client.log_batch(self.run, tags=[self.RunTag(key, str(value)) for key, value in tags.items() if value])

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        now = int(time.time() * 1000)
        points = [self.Metric(_name(key), value, now, step) for key, value in finite_numbers(metrics).items()]
        for some in _batches(points, METRICS_PER_BATCH):
            self.client.log_batch(self.run, metrics=some)

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log a JSON file of columns and data, which MLflow displays as a table."""
        columns, cells = as_table(rows)
        table = {"columns": columns, "data": cells}
        self.client.log_dict(self.run, table, f"samples/{_name(kind)}/step_{step:06d}.json")

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        file = re.sub(r"\W+", "_", f"{event['kind']}_{event['name']}")
        self.client.log_text(self.run, event_text(event), f"events/step_{step:06d}_{file}.txt")

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        if summary is not None:
            self.client.log_dict(self.run, dict(summary), "summary.json")
            results = {f"summary/{key}": value for key, value in flatten(summary).items()}
            self.log(int(summary.get("steps", 0)), results)
        self.client.set_terminated(self.run, "KILLED" if summary is None else "FINISHED")
        return f"mlflow run {self.run}; to view it: mlflow ui --backend-store-uri {self.uri}"


def _name(key: str) -> str:
    """MLflow allows letters, digits and a few punctuation characters in a name."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:NAME_LENGTH]


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]

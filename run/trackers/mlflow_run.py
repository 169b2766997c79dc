"""MLflow: a SQLite store in the run folder, or the server that MLFLOW_TRACKING_URI names."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from run.folder import flatten
from run.trackers.base import RunInfo, as_table, event_text, finite_numbers, kept_id

PARAMS_A_BATCH = 100  # these are MLflow's limits
METRICS_A_BATCH = 1000
NAME_LENGTH = 250
VALUE_LENGTH = 6000


class MlflowTracker:
    """An MLflow run whose id lies in the run folder, so that a resumed run continues it. It goes through
    the client alone: the module's functions would set up a second store in the working folder."""

    def __init__(self, info: RunInfo) -> None:
        # A server that is away should cost minutes at most, not the retries of an hour; nothing is reported home.
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
        place = (folder / "mlflow_artifacts").as_uri() if not server else None
        experiment = known.experiment_id if known else self.client.create_experiment(info.project, place)
        self.run = self._begin(info, experiment)
        self._describe(info)

    def _begin(self, info: RunInfo, experiment: str) -> str:
        """The id of a new run, or of the one that this run folder has begun."""
        id_file = info.folder / "mlflow_id.txt"
        if not id_file.is_file():
            kept_id(id_file, self.client.create_run(experiment, run_name=info.name).info.run_id)
        run = kept_id(id_file, "")
        self.client.update_run(run, status="RUNNING")
        return run

    def _describe(self, info: RunInfo) -> None:
        """Settings as parameters and choices as tags. MLflow never changes a parameter: a setting that a
        resumed run changed, such as num_steps, becomes a tag."""
        settings = {_name(key): str(value)[:VALUE_LENGTH] for key, value in flatten(info.config).items()}
        before = self.client.get_run(self.run).data.params
        fresh = [self.Param(key, value) for key, value in settings.items() if key not in before]
        for some in _batches(fresh, PARAMS_A_BATCH):
            self.client.log_batch(self.run, params=some)
        changed = {f"changed.{key}": value for key, value in settings.items() if before.get(key, value) != value}
        git = info.config.get("git") or {}
        tags = {**info.tags, **changed, "group": info.group, "mlflow.source.git.commit": git.get("commit")}
        self.client.log_batch(self.run, tags=[self.RunTag(key, str(value)) for key, value in tags.items() if value])

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        now = int(time.time() * 1000)
        points = [self.Metric(_name(key), value, now, step) for key, value in finite_numbers(metrics).items()]
        for some in _batches(points, METRICS_A_BATCH):
            self.client.log_batch(self.run, metrics=some)

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A file of columns and data, which MLflow shows as a table."""
        columns, cells = as_table(rows)
        table = {"columns": columns, "data": cells}
        self.client.log_dict(self.run, table, f"samples/{_name(kind)}/step_{step:06d}.json")

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        file = re.sub(r"\W+", "_", f"{event['kind']}_{event['name']}")
        self.client.log_text(self.run, event_text(event), f"events/step_{step:06d}_{file}.txt")

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        if summary is not None:
            self.client.log_dict(self.run, dict(summary), "summary.json")
            reached = {f"summary/{key}": value for key, value in flatten(summary).items()}
            self.log(int(summary.get("steps", 0)), reached)
        self.client.set_terminated(self.run, "KILLED" if summary is None else "FINISHED")
        return f"mlflow run {self.run}; to look at it: mlflow ui --backend-store-uri {self.uri}"


def _name(key: str) -> str:
    """MLflow allows letters, digits and a few signs in a name."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:NAME_LENGTH]


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]

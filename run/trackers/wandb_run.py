"""Weights & Biases. Without an account the run is recorded offline and can be synced later."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run.folder import flatten
from run.trackers.base import RunInfo, as_table, event_text, finite_numbers, stored_id

if TYPE_CHECKING:
    import wandb

# What the table of runs shows for each metric group; for all others it shows the last value.
SUMMARIES = {
    "reward": "max,last",
    "solved": "max,last",
    "eval": "max,last",
    "reflection": "max,last",
    "eval_reflection": "max,last",
    "time": "mean,last",
}

FINISH_SECONDS = 600  # a stalled upload must not keep a rented machine busy; `wandb sync` can complete it later


class WandbTracker:
    """A wandb run whose id is stored in the run folder, so that a resumed run continues it.

    The training step is logged as the metric `step`, the x axis of all other metrics, because wandb's own step
    increases with every call; this way an evaluation, its samples and the following training step can be logged
    separately."""

    def __init__(self, info: RunInfo) -> None:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        self.wandb = wandb
        self.offline = info.mode == "offline" or (info.mode == "auto" and not has_account())
        # wandb writes its file every 15 seconds by default; a killed run should lose less. The setting is internal
        # to wandb and may disappear.
        flush = {"x_transaction_log_flush_interval": 1.0}
        known = wandb.Settings.model_fields.keys()
        settings = wandb.Settings(finish_timeout=FINISH_SECONDS, **(flush if flush.keys() <= known else {}))
        self.run = wandb.init(
            project=info.project,
            entity=info.entity,
            group=info.group,
            name=info.folder.name,
            job_type="train",
            tags=info.tag_list(),
            id=stored_id(info.folder / "wandb_id.txt", lambda: uuid.uuid4().hex[:16]),
            resume="allow",
            mode="offline" if self.offline else "online",
            dir=str(info.folder),
            config=dict(info.config),
            settings=settings,
        )
        self.run.define_metric("step", hidden=True)
        self.defined: set[str] = set()

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._log(step, finite_numbers(metrics))

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log one table per step; `runs.history.concat["samples/<kind>"]` in a panel shows them together. A single
        growing table would upload all earlier rows at every step, and an incremental table needs the server to find
        its earlier parts, which an offline run does not have."""
        self._log(step, {f"samples/{kind}": self._table(rows)})

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        text = event_text(event)
        level = "WARN" if event["kind"] == "alert" else "INFO"
        self.run.alert(title=f"{event['name']} at step {step}", text=text, level=level)
        row = {"step": step, "kind": event["kind"], "name": event["name"], "text": text}
        self._log(step, {f"events/{event['kind']}": self._table([row])})

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        folder = Path(self.run.dir).parent
        for name, value in flatten(summary or {}).items():
            self.run.summary[f"summary/{name}"] = value
        self.run.finish(exit_code=1 if summary is None else 0)
        if not self.offline:
            return f"wandb: {self.run.url}"
        return f"wandb recorded the run offline; to upload it: wandb sync {folder.parent}/offline-run-*{self.run.id}*"

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> "wandb.Table":
        columns, cells = as_table(rows)
        return self.wandb.Table(columns=columns, data=cells, allow_mixed_types=True)

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        groups = {f"{name.split('/')[0]}/*" if "/" in name else name for name in values}
        for names in sorted(groups - self.defined):
            self.run.define_metric(names, step_metric="step", summary=SUMMARIES.get(names.removesuffix("/*")))
            self.defined.add(names)
        self.run.log({"step": step, **values})


def has_account() -> bool:
    """Whether wandb has an API key, from WANDB_API_KEY or from an earlier `wandb login`."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))

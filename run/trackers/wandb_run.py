"""Weights & Biases. Without an account the run is kept offline, to be synced later."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from run.folder import flatten
from run.trackers.base import RunInfo, as_table, event_text, finite_numbers, kept_id

# What the table of runs shows of a group beside the last value, which is all that it shows of the others.
SUMMARIES = {
    "reward": "max,last",
    "solved": "max,last",
    "eval": "max,last",
    "reflection": "max,last",
    "eval_reflection": "max,last",
    "time": "mean,last",
}

FINISH_SECONDS = 600  # an upload that hangs should not hold a rented machine; `wandb sync` does the rest


class WandbTracker:
    """A wandb run whose id lies in the run folder, so that a resumed run continues it.

    wandb's own step only counts calls; the run's step is the metric `step`, the x axis of all others, so
    that an evaluation, its samples and the training step after it may come one by one."""

    def __init__(self, info: RunInfo) -> None:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        self.wandb = wandb
        self.offline = info.mode == "offline" or (info.mode == "auto" and not has_account())
        self.run = wandb.init(
            project=info.project,
            entity=info.entity,
            group=info.group,
            name=info.folder.name,
            job_type="train",
            tags=info.tag_list(),
            id=kept_id(info.folder / "wandb_id.txt", uuid.uuid4().hex[:16]),
            resume="allow",
            mode="offline" if self.offline else "online",
            dir=str(info.folder),
            config=dict(info.config),
            settings=_settings(wandb),
        )
        self.run.define_metric("step", hidden=True)
        self.defined: set[str] = set()

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._log(step, finite_numbers(metrics))

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table a step: each is a file of its own, and `runs.history.concat["samples/<kind>"]` in a panel
        shows them all. One growing table would upload every earlier row again; an incremental one finds its
        earlier parts on the server alone, which a run that is offline does not have."""
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
        return f"wandb ran offline; to upload: wandb sync {folder.parent}/offline-run-*{self.run.id}*"

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        columns, cells = as_table(rows)
        return self.wandb.Table(columns=columns, data=cells, allow_mixed_types=True)

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        groups = {f"{name.split('/')[0]}/*" if "/" in name else name for name in values}
        for names in sorted(groups - self.defined):
            self.run.define_metric(names, step_metric="step", summary=SUMMARIES.get(names.removesuffix("/*")))
            self.defined.add(names)
        self.run.log({"step": step, **values})


def _settings(wandb: Any) -> Any:
    """wandb writes its file every 15 seconds; a run that is killed should lose less. That setting is one of
    those that wandb may take away."""
    known = wandb.Settings.model_fields
    often = {"x_transaction_log_flush_interval": 1.0} if "x_transaction_log_flush_interval" in known else {}
    return wandb.Settings(finish_timeout=FINISH_SECONDS, **often)


def has_account() -> bool:
    """Whether wandb knows a key, from its environment variable or from an earlier `wandb login`."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))

"""Where metrics go beside the files of the run folder."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    def log(self, step: int, metrics: Mapping[str, Any]) -> None: ...

    def close(self) -> str:
        """Finish; returns what the user should know, or nothing."""


class NoTracker:
    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        pass

    def close(self) -> str:
        return ""


class WandbTracker:
    """A wandb run whose id lies in the run folder, so that a resumed run continues it.
    Without an account it is kept offline, to be synced later."""

    def __init__(self, project: str, group: str | None, mode: str, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        self.offline = mode == "offline" or (mode == "auto" and not wandb.login(prompt=False, verify=False))
        id_file = folder / "wandb_id.txt"
        if not id_file.is_file():
            id_file.write_text(uuid.uuid4().hex[:16], encoding="utf-8")
        self.run = wandb.init(
            project=project,
            group=group,
            name=folder.name,
            id=id_file.read_text(encoding="utf-8"),
            resume="allow",
            mode="offline" if self.offline else "online",
            dir=str(folder),
            config=dict(config),
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        self.run.log({"step": step, **numbers})

    def close(self) -> str:
        folder = Path(self.run.dir).parent
        self.run.finish()
        return f"wandb ran offline; to upload: wandb sync {folder}" if self.offline else f"wandb: {self.run.url}"


def make_tracker(cfg: Any, folder: Path, config: Mapping[str, Any]) -> Tracker:
    """The tracker that `cfg` (a TrackerConfig) names."""
    if cfg.name == "none":
        return NoTracker()
    return WandbTracker(cfg.project, cfg.group, cfg.mode, folder, config)

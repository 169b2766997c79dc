"""Which trackers a run is shown in."""

from dataclasses import dataclass, field

from grpo.settings import one_of

TRACKERS = ("wandb", "tensorboard", "mlflow", "trackio")


@dataclass
class TrackerConfig:
    """names: any of wandb, tensorboard, mlflow and trackio; with none, a run keeps to the files of its folder.
    project, group: what they file the run under. entity, mode: wandb's; mode "auto" is online where there
    is an account and offline elsewhere."""

    names: list[str] = field(default_factory=lambda: ["wandb"])
    project: str = "ahazero"
    entity: str | None = None
    group: str | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        for name in self.names:
            one_of("tracker.names", name, TRACKERS)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"tracker.names={','.join(self.names)} holds a name twice; give each once")
        one_of("tracker.mode", self.mode, ("auto", "online", "offline"))

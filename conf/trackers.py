"""Experiment trackers of a run."""

from dataclasses import dataclass, field

from grpo.settings import one_of

TRACKERS = ("wandb", "tensorboard", "mlflow", "trackio")


@dataclass
class TrackerConfig:
    """The trackers that record a run in addition to its folder.

    names    any of wandb, tensorboard, mlflow and trackio; an empty list disables tracking
    project  the project that the run is filed under
    entity   wandb: the user or team that owns the project
    group    the group within the project, such as a sweep
    mode     wandb: online, offline, or auto (online if there is an account, otherwise offline)
    """

    names: list[str] = field(default_factory=lambda: ["wandb"])
    project: str = "ahazero"
    entity: str | None = None
    group: str | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        for name in self.names:
            one_of("tracker.names", name, TRACKERS)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"tracker.names={','.join(self.names)} contains a name twice; list each tracker once")
        one_of("tracker.mode", self.mode, ("auto", "online", "offline"))

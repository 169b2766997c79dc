"""Where metrics, samples and events go beside the files of the run folder.

A tracker is a convenience: one that fails is said, counted and left out, and the run goes on."""

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from run.trackers.base import NoTracker, RunInfo, Tracker, tags_of
from run.trackers.git import git_commit
from run.trackers.wandb_run import has_account

__all__ = ["NoTracker", "Tracker", "Trackers", "check_tracker", "git_commit", "make_tracker"]

# The class of each, and the libraries that it needs. What they import takes seconds: it is imported when used.
KINDS = {
    "wandb": ("wandb_run.WandbTracker", ("wandb",)),
    "tensorboard": ("tensorboard_run.TensorboardTracker", ("tensorboard",)),
    "mlflow": ("mlflow_run.MlflowTracker", ("mlflow", "sqlalchemy", "alembic")),
    "trackio": ("trackio_run.TrackioTracker", ("trackio",)),
}
PACKAGES = {"mlflow": "mlflow-skinny"}  # where a library's package is called otherwise
STATE = "tracked.json"


def check_tracker(cfg: Any) -> None:
    """Refuse what `cfg` (a TrackerConfig) asks for and this environment can't do.

    Raises:
        ValueError: a library is missing, or an account that `mode=online` needs.
    """
    for name in cfg.names:
        if missing := [library for library in needed(name) if importlib.util.find_spec(library) is None]:
            packages = " ".join(PACKAGES.get(library, library) for library in missing)
            raise ValueError(
                f"tracker.names={name} needs a library that is missing; install it: pip install {packages}"
            )
    if "wandb" in cfg.names and cfg.mode == "online" and not has_account():
        raise ValueError("tracker.mode=online needs an account; run `wandb login`, or choose auto or offline")


def needed(name: str) -> tuple[str, ...]:
    libraries = KINDS[name][1]
    # A server has MLflow's database; without one it lies in the run folder.
    return libraries[:1] if name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI") else libraries


def make_tracker(cfg: Any, folder: Path, config: Mapping[str, Any], say: Callable[[str], None] = print) -> Tracker:
    """The trackers that `cfg` (a TrackerConfig) names, as one. `folder` is the run's, `config` all of its
    settings, `say` tells the user that a tracker failed."""
    if not cfg.names:
        return NoTracker()
    if "git" not in config:
        config = {"git": git_commit(Path(__file__).parent), **config}
    trackers = Trackers(folder, say)
    for name in cfg.names:
        begun = name in trackers.before
        info = RunInfo(folder, config, tags_of(config), cfg.project, cfg.entity, cfg.group, cfg.mode, begun)
        trackers.add(name, partial(_open, name, info))
    return trackers


def _open(name: str, info: RunInfo) -> Tracker:
    module, _, kind = KINDS[name][0].partition(".")
    tracker: Tracker = getattr(importlib.import_module(f"run.trackers.{module}"), kind)(info)
    return tracker


class Trackers:
    """Several trackers as one. `left_out` counts those that failed, with what they said.

    A resumed run does the steps since its checkpoint again. None of the libraries can take back what it
    was told, so what a tracker has got from an earlier start is not sent to it again: tracked.json in the run
    folder holds, for each tracker, the last step of each stream (training, evaluation, samples/eval, ...)."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.say, self.state = say, folder / STATE
        self.open: dict[str, Tracker] = {}
        self.left_out: dict[str, str] = {}
        self.before: dict[str, dict[str, int]] = {}
        if self.state.is_file():
            self.before = json.loads(self.state.read_text(encoding="utf-8"))
        self.last = {name: dict(steps) for name, steps in self.before.items()}

    def add(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        tracker = self._attempt(name, "to start", open_tracker)
        if tracker is not None:
            self.open[name] = tracker

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        metrics = {name: value for name, value in metrics.items() if name != "step"}
        # The last evaluation comes alone; a run that is made longer begins its next step with the same number.
        stream = "training" if "time/step" in metrics else "evaluation"
        self._tell(step, stream, lambda tracker: tracker.log(step, metrics))

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._tell(step, f"samples/{kind}", lambda tracker: tracker.log_samples(step, kind, rows))

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        stream = f"events/{event['kind']}/{event['name']}"
        self._tell(step, stream, lambda tracker: tracker.log_event(step, event))

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        messages = []
        for name, tracker in list(self.open.items()):
            messages.append(self._attempt(name, "at the end", partial(tracker.close, summary)))
        self.open.clear()
        messages += [
            f"{name} does not have all of this run, it failed {error}" for name, error in self.left_out.items()
        ]
        return "\n".join(message for message in messages if message)

    def _tell(self, step: int, stream: str, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.open.items()):
            if step > self.before.get(name, {}).get(stream, -1):
                self._attempt(name, f"at step {step}", partial(self._send, name, step, stream, partial(act, tracker)))

    def _send(self, name: str, step: int, stream: str, act: Callable[[], None]) -> None:
        act()
        self.last.setdefault(name, {})[stream] = step
        temporary = self.state.with_suffix(".writing")
        temporary.write_text(json.dumps(self.last), encoding="utf-8")
        temporary.replace(self.state)

    def _attempt(self, name: str, when: str, act: Callable[[], Any]) -> Any:
        """What `act` returns; None, and the tracker is left out, where it fails."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - network, disk or a library's bug: none is worth the run
            self.open.pop(name, None)
            said = (str(error).strip() or "nothing said").splitlines()[0]
            self.left_out[name] = f"{when}: {type(error).__name__}: {said}"
            self.say(f"tracker {name} failed {self.left_out[name]}; it is left out from here on, the run goes on")
            return None

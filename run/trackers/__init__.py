"""Experiment trackers, which receive the metrics, samples and events of a run in addition to its folder.

A failing tracker is reported and disabled; the run continues."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from conf.trackers import TrackerConfig
from run.files import read_json, replace_json
from run.trackers.base import RunInfo, Tracker, tags_of
from run.trackers.wandb_run import has_account

__all__ = ["Tracker", "Trackers", "check_tracker", "make_tracker"]

# The class of each tracker and the libraries it needs. Importing them takes seconds, so it is deferred until use.
KINDS = {
    "wandb": ("wandb_run.WandbTracker", ("wandb",)),
    "tensorboard": ("tensorboard_run.TensorboardTracker", ("tensorboard",)),
    "mlflow": ("mlflow_run.MlflowTracker", ("mlflow", "sqlalchemy", "alembic")),
    "trackio": ("trackio_run.TrackioTracker", ("trackio",)),
}
PACKAGES = {"mlflow": "mlflow-skinny"}  # libraries whose package has another name
STATE = "tracked.json"
Result = TypeVar("Result")


def check_tracker(cfg: TrackerConfig) -> None:
    """Check that the configured trackers can be used on this machine.

    Raises:
        ValueError: a library is missing, or `mode=online` is set without a wandb account.
    """
    for name in cfg.names:
        libraries = KINDS[name][1]
        if name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI"):
            libraries = libraries[:1]  # the others are for the database, which the server has
        if missing := [library for library in libraries if importlib.util.find_spec(library) is None]:
            packages = " ".join(PACKAGES.get(library, library) for library in missing)
            raise ValueError(f"tracker.names={name} requires a missing library; install it: pip install {packages}")
    if "wandb" in cfg.names and cfg.mode == "online" and not has_account():
        raise ValueError(
            "tracker.mode=online requires a wandb account; run `wandb login`, or set tracker.mode=auto or offline"
        )


def make_tracker(
    cfg: TrackerConfig, folder: Path, config: Mapping[str, Any], say: Callable[[str], None] = print
) -> "Trackers":
    """Open all trackers in `cfg.names`.

    Args:
        folder: the folder of the run.
        config: all settings of the run, nested.
        say: receives a message when a tracker fails.
    """
    trackers = Trackers(folder, say)
    for name in cfg.names:
        started = name in trackers.before
        info = RunInfo(folder, config, tags_of(config), cfg.project, cfg.entity, cfg.group, cfg.mode, started)
        trackers.add(name, partial(_open, name, info))
    return trackers


def _open(name: str, info: RunInfo) -> Tracker:
    module, _, kind = KINDS[name][0].partition(".")
    tracker: Tracker = getattr(importlib.import_module(f"run.trackers.{module}"), kind)(info)
    return tracker


class Trackers:
    """Any number of trackers, including zero, behind the interface of one.

    `failures` maps each disabled tracker to its error. A resumed run repeats the steps since its checkpoint, and
    none of the libraries can retract what was logged. Steps that a tracker received before are therefore not sent
    to it again: for each tracker, tracked.json in the run folder holds the last step of each stream (training,
    evaluation, samples/eval, ...)."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.say, self.state = say, folder / STATE
        self.open: dict[str, Tracker] = {}
        self.failures: dict[str, str] = {}
        self.before: dict[str, dict[str, int]] = {}
        if self.state.is_file():
            self.before = read_json(self.state, "remove it; trackers then receive repeated steps again")
        self.last = {name: dict(steps) for name, steps in self.before.items()}

    def add(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        tracker = self._attempt(name, "to start", open_tracker)
        if tracker is not None:
            self.open[name] = tracker

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        metrics = {name: value for name, value in metrics.items() if name != "step"}
        # The final evaluation is logged alone. If the run is extended later, its next training step has the same
        # number and must not be taken for a repetition.
        stream = "training" if "time/step" in metrics else "evaluation"
        self._send_new(step, stream, lambda tracker: tracker.log(step, metrics))

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._send_new(step, f"samples/{kind}", lambda tracker: tracker.log_samples(step, kind, rows))

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        stream = f"events/{event['kind']}/{event['name']}"
        self._send_new(step, stream, lambda tracker: tracker.log_event(step, event))

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        messages = []
        for name, tracker in list(self.open.items()):
            messages.append(self._attempt(name, "at the end", partial(tracker.close, summary)))
        self.open.clear()
        messages += [f"the record in {name} is incomplete: it failed {error}" for name, error in self.failures.items()]
        return "\n".join(message for message in messages if message)

    def _send_new(self, step: int, stream: str, act: Callable[[Tracker], None]) -> None:
        """Send a step to every tracker that has not received it from an earlier start of the run."""
        for name, tracker in list(self.open.items()):
            if step > self.before.get(name, {}).get(stream, -1):
                self._attempt(name, f"at step {step}", partial(self._send, name, step, stream, partial(act, tracker)))

    def _send(self, name: str, step: int, stream: str, act: Callable[[], None]) -> None:
        act()
        self.last.setdefault(name, {})[stream] = step
        replace_json(self.state, self.last)

    def _attempt(self, name: str, when: str, act: Callable[[], Result]) -> Result | None:
        """The result of `act`; if it raises, report and disable the tracker and return None."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - network, disk or a bug in a library must not end the run
            self.open.pop(name, None)
            reason = (str(error).strip() or "no message").splitlines()[0]
            self.failures[name] = f"{when}: {type(error).__name__}: {reason}"
            self.say(f"tracker {name} failed {self.failures[name]}; it is disabled, and the run continues")
            return None

"""Which stages have finished, and pipeline.json: the command of each stage and the checksums of what it has read.

A finished stage is not run again and an interrupted one resumes, but only with the same command and the same inputs.
"""

import hashlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from conf.pipelines import TRAINED
from pipelines.commands import EVALUATION, Known, Pipeline, stage_settings
from pipelines.graph import sources
from run.files import read_json, read_yaml, replace_json
from run.folder import MEMORY_KEYS, RunFolder, trains_off_policy
from workers.checkpoint import list_checkpoints, sha256_of

# Overrides that decide where and how a stage runs, not what it computes; they may change when it resumes.
FREE_KEYS = ("topology", "tracker", "checkpoint", "rollout", "cost", "budget")


class StageState(StrEnum):
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not started"


@dataclass
class Record:
    """A stage that has started.

    command  the entry point and its overrides
    inputs   what it reads -> SHA-256, or the name of a model or a dataset on the Hub
    seconds  wall-clock time of all its starts
    """

    command: list[str]
    inputs: dict[str, str]
    seconds: float = 0.0


class Ledger:
    """The stages of a pipeline that have started.

    Raises:
        ValueError: pipeline.json is damaged.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.path = pipeline.folder / "pipeline.json"
        do = "remove it, and the folders of the stages, to run them again"
        stored = read_json(self.path, do) if self.path.is_file() else {"stages": {}}
        try:
            records = {name: Record(**row) for name, row in stored["stages"].items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is not a record of stages; {do}") from error
        # To run a stage again, the user removes its folder.
        self.records = {name: record for name, record in records.items() if (pipeline.folder / name).is_dir()}

    def state(self, name: str) -> StageState:
        if name not in self.records:
            return StageState.NOT_STARTED
        return StageState.FINISHED if self._has_ended(name) else StageState.INTERRUPTED

    def is_finished(self, name: str) -> bool:
        return self.state(name) is StageState.FINISHED

    def is_ready(self, name: str) -> bool:
        """Whether the stages that it takes something from have finished."""
        return all(self.is_finished(other) for other in sources(self.pipeline.stages, name))

    def known(self) -> Known:
        """What the finished stages have produced. The weights may have been removed since."""
        done = {name: stage for name, stage in self.pipeline.stages.items() if self.is_finished(name)}
        return Known(
            weights={name: self._weights(name) for name, stage in done.items() if stage.kind in TRAINED},
            summaries={name: self.summary(name) for name, stage in done.items() if stage.kind != "evaluate"},
        )

    def summary(self, name: str) -> dict[str, Any]:
        """The result file of a stage that has finished: summary.json, or that of an evaluation."""
        return read_json(self.result(name), f"remove it, and run the pipeline again to repeat stages.{name}")

    def result(self, name: str) -> Path:
        folder = self.pipeline.folder / name
        is_evaluation = self.pipeline.stages[name].kind == "evaluate"
        return folder / "eval" / f"{EVALUATION}.json" if is_evaluation else folder / "summary.json"

    def samples_itself(self, name: str) -> bool:
        """Whether a traces stage draws its samples; with `samples=FOLDER`, its summary states the cost of another's."""
        return not any(override.startswith("samples=") for override in self.records[name].command)

    def seconds(self, name: str) -> float:
        """Seconds that a stage took. If the pipeline was killed during the stage, the record lacks some of them, and
        the stage's own files have them."""
        recorded = self.records[name].seconds
        kind = self.pipeline.stages[name].kind
        if kind in TRAINED:
            return max(recorded, RunFolder(self.pipeline.folder / name).read_spent()[0])
        if not self.is_finished(name) or not self.samples_itself(name):
            return recorded
        summary = self.summary(name)
        return max(recorded, summary["spent"]["seconds"] if kind == "evaluate" else summary["seconds"])

    def check(self, name: str) -> Record:
        """The record of a stage that is ready, as it would run now.

        Raises:
            ValueError: the stage has started with another command or other inputs, or the weights that it would start
                from are gone.
        """
        model = self.pipeline.stages[name].model
        if model in self.pipeline.stages and not self.is_finished(name) and not self._weights(model).is_dir():
            folder = self.pipeline.folder / model
            raise ValueError(f"stages.{model}: {folder} has no checkpoint any more; remove it to train the stage again")
        now = Record(self.pipeline.command(name, self.known()), self._inputs(name))
        before = self.records.setdefault(name, now)
        if changed := _difference(before, now):
            raise ValueError(
                f"stages.{name} has run with {changed}; restore it, remove {self.pipeline.folder / name} to run the "
                "stage again, or choose another run=NAME"
            )
        before.command = now.command
        return before

    def forget_changed(self, except_for: Collection[str] = ()) -> list[str]:
        """Drop the stages that have run with another command or other inputs than they would have now, and return what
        differs. Those of `except_for` are not compared."""
        differences = []
        for name in self.pipeline.stages:
            if name in self.records and name not in except_for:
                try:
                    if self.is_ready(name):
                        self.check(name)
                        continue
                    differences.append(f"stages.{name} has run, but not all that it needs")
                except ValueError as error:
                    differences.append(str(error))
                del self.records[name]
        return differences

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stages = {name: asdict(record) for name, record in self.records.items()}
        replace_json(self.path, {"pipeline": self.pipeline.cfg.name, "stages": stages})

    def _has_ended(self, name: str) -> bool:
        if not self.result(name).is_file():
            return False
        if self.pipeline.stages[name].kind not in TRAINED:
            return True
        folder = RunFolder(self.pipeline.folder / name)
        config = read_yaml(folder.config, f"remove {folder.path} to run stages.{name} again")
        return folder.is_finished(config["num_steps"], config["num_tokens"])  # not if its budget ended it

    def _weights(self, name: str) -> Path:
        """The folder of the weights of a stage that has finished, also if it was removed."""
        root = self.pipeline.folder / name / "checkpoints"
        last = list_checkpoints(root)[-1:] or [root / f"step_{self.summary(name)['steps']:06d}"]
        return last[0] / "hf"

    def _inputs(self, name: str) -> dict[str, str]:
        """The identity of the weights and of the data that a stage starts from."""
        stage = self.pipeline.stages[name]
        if stage.model not in self.pipeline.stages:
            model = stage_settings(stage.kind, self.pipeline.overrides(name, Known())).model
            found = {stage.model: identity(Path(model.source))}
        else:
            found = {stage.model: self.summary(stage.model)["weights_sha256"]}
        paths = dict(zip(stage.data, self.pipeline.data_paths(stage), strict=True))
        for other in stage.referenced:
            if self.pipeline.stages[other].kind == "traces":
                paths[other] = self.pipeline.folder / other / "data.jsonl"
        return found | {source: identity(path) for source, path in paths.items()}


def identity(path: Path) -> str:
    """The SHA-256 of a file, or of all files in a folder with their names, except hidden ones such as locks, which name
    a process; a Hub name stands for itself."""
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        return str(path)
    found = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = file.relative_to(path)
        if not any(part.startswith(".") for part in name.parts):
            found.update(f"{name} {sha256_of(file)}\n".encode())
    return found.hexdigest()


def _difference(before: Record, now: Record) -> str:
    """What differs between two records, as in "num_steps=36, now num_steps=40"; empty if nothing does."""
    old, new = _settings(before.command), _settings(now.command)
    for key in [*old, *new]:
        if old.get(key) != new.get(key):
            return f"{old.get(key, f'no {key}')}, now {new.get(key, f'no {key}')}"
    for name in [*before.inputs, *now.inputs]:
        if before.inputs.get(name) != now.inputs.get(name):
            pair = (record.inputs.get(name, "none")[:12] for record in (before, now))
            return "the data or weights of {}, {}, now {}".format(name, *pair)
    return ""


def _settings(command: list[str]) -> dict[str, str]:
    """The overrides of a command by key, without those that may change."""
    settings = {override.partition("=")[0]: override for override in command}
    return {key: override for key, override in settings.items() if not _may_change(override.lstrip("+"))}


def _may_change(override: str) -> bool:
    key = override.partition("=")[0]
    is_free = key.partition(".")[0] in FREE_KEYS and not trains_off_policy(override)
    return is_free or key in MEMORY_KEYS

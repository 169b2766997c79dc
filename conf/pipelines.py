"""The settings of a pipeline: its stages, and what each takes from which."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from grpo.settings import at_least, one_of

ENTRY_POINTS = {
    "rl": "train_grpo.py",
    "sft": "train_sft.py",
    "traces": "sample_traces.py",
    "evaluate": "evaluate.py",
}
TRAINED = ("rl", "sft")  # the kinds of stages that produce weights
GIVEN_MODELS = ("base", "teacher")
MODELS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("model/*.yaml")))
ALL = "all"
SET_BY_PIPELINE = (
    "run",
    "output",
    "name",
    "model",
    "model.path",
    "model.local_path",
    "seed",
    "data.paths",
    "data.ratio",
)
# The folder of another stage, or a number in its summary.json.
REFERENCE = re.compile(r"\{([a-z]\w*)(?:\.(\w+))?\}")
NUMBERS = {
    "rl": ("steps", "tokens"),
    "sft": ("steps", "tokens"),
    "traces": ("rows", "data_tokens", "samples", "tokens"),
}


@dataclass
class StageConfig:
    """One stage: a run of an ordinary entry point.

    kind       "rl" (train_grpo.py), "sft" (train_sft.py), "traces" (sample_traces.py) or "evaluate" (evaluate.py)
    model      the weights it starts from: "base", "teacher", the name of an rl or sft stage, or a file of conf/model/
    data       sft only: the traces stages, files, folders or datasets on the Hub to train on; each with its number of
               rows relative to the others, or all with null for all rows
    overrides  further overrides of the entry point; {STAGE} stands for another stage's folder, and {STAGE.KEY} for one
               of the NUMBERS in its summary.json
    arm        the arm of a comparison that the stage belongs to; empty if the arms share it
    """

    kind: str = MISSING
    model: str = "base"
    data: dict[str, int | None] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    arm: str = ""

    @property
    def referenced(self) -> list[str]:
        """The stages that the overrides name in braces."""
        return [stage for stage, _ in REFERENCE.findall(" ".join(self.overrides))]

    @property
    def folders(self) -> list[str]:
        """Those of `referenced` whose output is used, rather than a number of their summary, such as a budget."""
        return [stage for stage, number in REFERENCE.findall(" ".join(self.overrides)) if not number]


@dataclass
class PipelineConfig:
    """All settings of `python -m pipelines`.

    name       name of the pipeline
    run        the stages are written to outputs/<run>/<stage>/
    seed       seed of every stage, >= 0
    model      the base model, a file of conf/model/
    teacher    the model "teacher" of the stages, a file of conf/model/; null if no stage uses it
    env        the task, a file of conf/env/
    stages     StageConfig by name
    overrides  overrides of all stages ("all") and of all stages of one kind
    only       run these stages and those that they need; evaluations that the file does not list are named
               evaluate_MODEL; empty for all
    minutes    measured minutes on two CPU cores, by stage or kind, for make pipeline DRY=1
    """

    name: str = MISSING
    run: str = MISSING
    seed: int = 0
    model: str = MISSING
    teacher: str | None = None
    env: str = MISSING
    stages: dict[str, StageConfig] = field(default_factory=dict)
    overrides: dict[str, list[str]] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)
    minutes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if not self.stages:
            raise ValueError("stages must name at least one stage, got {}")
        for group, overrides in self.overrides.items():
            one_of("overrides", group, (ALL, *ENTRY_POINTS))
            _check_overrides(f"overrides.{group}", overrides)
            if named := REFERENCE.search(" ".join(overrides)):
                raise ValueError(f"overrides.{group}: {named[0]} is for the overrides of a single stage; set it there")
        for name, stage in self.stages.items():
            self._check_stage(name, stage)

    def _check_stage(self, name: str, stage: StageConfig) -> None:
        key = f"stages.{name}"
        taken = (ALL, *ENTRY_POINTS, *GIVEN_MODELS, *MODELS, *(each.name for each in fields(self)))
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in taken:
            raise ValueError(
                f"{key}: a stage is named with lower-case letters, digits and _, and none of {', '.join(taken)}"
            )
        one_of(f"{key}.kind", stage.kind, tuple(ENTRY_POINTS))
        trained = [other for other, each in self.stages.items() if each.kind in TRAINED and other != name]
        one_of(f"{key}.model", stage.model, (*GIVEN_MODELS, *trained, *MODELS))
        if stage.model == "teacher" and self.teacher is None:
            raise ValueError(f"{key}.model=teacher needs a teacher; set teacher=NAME, a file of conf/model/")
        self._check_data(f"{key}.data", stage)
        _check_overrides(f"{key}.overrides", stage.overrides)
        for other, number in REFERENCE.findall(" ".join(stage.overrides)):
            one_of(f"{key}.overrides: the stage in braces", other, [each for each in self.stages if each != name])
            if number:
                numbers = NUMBERS.get(self.stages[other].kind, ("none, since it is an evaluation",))
                one_of(f"{key}.overrides: the number of {other} in braces", number, numbers)

    def _check_data(self, key: str, stage: StageConfig) -> None:
        if bool(stage.data) != (stage.kind == "sft"):
            raise ValueError(f"{key} is for stages of kind sft, which need it; got {stage.data} for {stage.kind}")
        for source, rows in stage.data.items():
            if source in self.stages:
                one_of(key, source, [o for o, each in self.stages.items() if each.kind == "traces"])
            elif re.fullmatch(r"\w+", source):
                raise ValueError(
                    f"{key} names {source}, which is neither a stage nor a path; stages are {', '.join(self.stages)}"
                )
            if rows is not None:
                at_least(f"{key}.{source}", rows, 1)
        if len({rows is None for rows in stage.data.values()}) > 1:
            raise ValueError(f"{key} must give a number for every source, or null for all; got {stage.data}")


def _check_overrides(key: str, overrides: list[str]) -> None:
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{key}: {override} is not an override; write KEY=VALUE")
        if (name := override.partition("=")[0].lstrip("+~")) in SET_BY_PIPELINE:
            raise ValueError(f"{key}: {override} is not allowed, since the pipeline sets {name}")


ConfigStore.instance().store(name="pipeline_schema", node=PipelineConfig)

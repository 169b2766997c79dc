"""The command of a stage: an entry point and its overrides."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conf.compose import compose_config, compose_evaluation, compose_sft, compose_traces, quoted
from conf.pipelines import ALL, ENTRY_POINTS, GIVEN_MODELS, REFERENCE, PipelineConfig, StageConfig
from conf.schema import CostConfig, RunConfig
from pipelines.graph import selected, with_evaluations
from run.folder import RunFolder

EVALUATION = "accuracy"  # an evaluate stage writes eval/accuracy.json and eval/accuracy.jsonl


@dataclass(frozen=True)
class Known:
    """What is known of the stages that have run.

    weights    the model folder of a trained stage
    summaries  summary.json of a stage
    """

    weights: Mapping[str, Path] = field(default_factory=dict)
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Pipeline:
    """The stages of a pipeline that run, in order and with evaluations, and their commands.

    Raises:
        ValueError: its `run` is not the name of a folder in outputs/.
    """

    def __init__(self, cfg: PipelineConfig) -> None:
        self.cfg = cfg
        self.stages = selected(with_evaluations(cfg.stages), cfg.only)
        self.folder = RunFolder.of(cfg.run).path

    def model_name(self, model: str) -> str:
        """The file of conf/model/ for the model of a stage; a trained stage has that of the model it started from."""
        if model in GIVEN_MODELS:
            return str({"base": self.cfg.model, "teacher": self.cfg.teacher}[model])
        return self.model_name(self.stages[model].model) if model in self.stages else model

    def minutes(self, name: str) -> float | None:
        """Minutes of a stage on two CPU cores, as the file states them; None if it does not."""
        return self.cfg.minutes.get(name, self.cfg.minutes.get(self.stages[name].kind))

    def command(self, name: str, known: Known) -> list[str]:
        """The entry point of a stage and its overrides. Without knowledge of earlier stages it starts from the weights
        of the given model, and numbers of their summaries are 1."""
        return [ENTRY_POINTS[self.stages[name].kind], *self.overrides(name, known)]

    def overrides(self, name: str, known: Known) -> list[str]:
        """The overrides of a stage. A later one replaces an earlier one of the same key: those of all stages, of the
        stage's kind, and of the stage itself."""
        stage, more = self.stages[name], self.cfg.overrides
        own = [*more.get(ALL, []), *more.get(stage.kind, []), *stage.overrides]
        chosen = {override.partition("=")[0]: override for override in [*self._sources(name, stage, known), *own]}
        return [self._fill_in(name, override, known.summaries) for override in chosen.values()]

    def _sources(self, name: str, stage: StageConfig, known: Known) -> list[str]:
        """The overrides that the pipeline itself sets: weights, task, seed, folder and data."""
        folder = self.folder / name
        chosen = [f"model={self.model_name(stage.model)}"]
        if stage.model in known.weights:
            chosen += [f"model.path={quoted(str(known.weights[stage.model]))}", "model.local_path=null"]
        chosen += [f"env={self.cfg.env}", f"seed={self.cfg.seed}"]
        results = f"output={quoted(str(folder))}"
        chosen += [results] if stage.kind in ("traces", "evaluate") else [f"run={quoted(f'{self.cfg.run}/{name}')}"]
        if stage.kind == "evaluate":
            chosen += [f"name={EVALUATION}"]
        if stage.data:
            chosen += [f"data.paths=[{','.join(quoted(str(path)) for path in self.data_paths(stage))}]"]
            if rows := [rows for rows in stage.data.values() if rows is not None]:
                chosen += [f"data.ratio={rows}".replace(" ", "")]
        return chosen

    def _fill_in(self, name: str, override: str, summaries: Mapping[str, Mapping[str, Any]]) -> str:
        """Replace {STAGE} by a folder and {STAGE.KEY} by a number, which is 1 if the stage has not run."""

        def value(found: re.Match[str]) -> str:
            stage, key = found.groups()
            if key is None:
                folder = str(self.folder / stage)
                return quoted(folder) if override.endswith(f"={found[0]}") else folder
            number = summaries.get(stage, {key: 1}).get(key)
            if not isinstance(number, int):
                raise ValueError(
                    f"stages.{name}.overrides: {override}: the summary of {stage} has no whole number {key}"
                )
            return str(number)

        return REFERENCE.sub(value, override)

    def data_paths(self, stage: StageConfig) -> list[Path]:
        """The files, folders or Hub names that a stage trains on."""
        return [self.folder / source / "data.jsonl" if source in self.stages else Path(source) for source in stage.data]


def stage_settings(kind: str, overrides: list[str]) -> RunConfig:
    """The settings that the entry point of a kind composes.

    Raises:
        ValueError: they do not compose.
    """
    if kind == "rl":
        return compose_config(overrides)
    if kind == "sft":
        return compose_sft(overrides)
    return compose_traces(overrides, {}) if kind == "traces" else compose_evaluation(overrides, {})


def cost_of(pipeline: Pipeline) -> CostConfig:
    """What the machine costs, as the settings of the stages state it.

    Raises:
        ValueError: the settings of the first stage do not compose.
    """
    name, stage = next(iter(pipeline.stages.items()))
    return stage_settings(stage.kind, pipeline.overrides(name, Known())).cost


def check_commands(pipeline: Pipeline) -> None:
    """Compose the settings of all stages before the first one starts, and look for the files they train on.

    Raises:
        ValueError: the settings of a stage do not compose, or a file is missing; the message names the stage.
    """
    for name, stage in pipeline.stages.items():
        for source in stage.data:
            if Path(source).suffix in (".jsonl", ".parquet") and not Path(source).is_file():
                raise ValueError(f"stages.{name}.data: {source} does not exist; create it, or set another file")
        try:
            stage_settings(stage.kind, pipeline.overrides(name, Known()))
        except ValueError as error:
            raise ValueError(f"stages.{name}: {error}") from error

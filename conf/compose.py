"""Composition of the settings by Hydra for commands that are not a Hydra main."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line, settings_of
from conf.pipelines import ALL, ENTRY_POINTS, PipelineConfig
from conf.reproduce import ClaimConfig
from conf.schema import Config, RunConfig
from conf.sft import SftConfig, TrainingConfig
from conf.strategies import EvaluateConfig
from conf.traces import TracesConfig
from conf.verifiers import TrainVerifierConfig

ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
ConfigStore.instance().store(name="traces_schema", node=TracesConfig)
ConfigStore.instance().store(name="train_verifier_schema", node=TrainVerifierConfig)

CONF = Path(__file__).resolve().parent
Settings = TypeVar("Settings", bound=RunConfig)


def compose_config(overrides: Sequence[str]) -> Config:
    """Return the settings of train_grpo.py with these Hydra overrides.

    Raises:
        ValueError: the overrides do not compose, or a value is not allowed; the message is one line.
    """
    return _compose("config", Config, overrides)


def compose_evaluation(overrides: Sequence[str], saved: Mapping[str, Any]) -> EvaluateConfig:
    """Return the settings of evaluate.py.

    saved  the config.yaml of a run, whose model and env are used unless an override selects another group; empty
           without a run

    Raises:
        ValueError: the overrides do not compose, or a value is not allowed; the message is one line.
    """
    return _compose_on_run("evaluate", EvaluateConfig, overrides, saved)


def compose_traces(overrides: Sequence[str], saved: Mapping[str, Any]) -> TracesConfig:
    """Return the settings of sample_traces.py; parameters and errors are those of `compose_evaluation`."""
    return _compose_on_run("traces", TracesConfig, overrides, saved)


def compose_verifier(overrides: Sequence[str], saved: Mapping[str, Any]) -> TrainVerifierConfig:
    """Return the settings of tools/train_verifier.py; parameters and errors are those of `compose_evaluation`."""
    return _compose_on_run("train_verifier", TrainVerifierConfig, overrides, saved)


def quoted(value: str) -> str:
    """The value as an override states it: in quotes, unless Hydra's grammar allows its characters without them."""
    if re.fullmatch(r"[\w /+.$%*@?|:-]+", value, re.ASCII):
        return value
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + end[2].replace("'", "\\'"), value) + "'"


def chosen_groups() -> dict[str, str]:
    """The files of conf/model/ and conf/env/ that the running Hydra command has composed, such as {"model": "tiny",
    "env": "mixed", "env@env.parts.a": "jsonl"}. The names in the settings can differ, as with env=jsonl env.name=mine.
    """
    choices: Mapping[str, str] = HydraConfig.get().runtime.choices
    return {group: choices[group] for group in choices if group.partition("@")[0] in ("model", "env")}


def compose_sft(overrides: Sequence[str]) -> SftConfig:
    """Return the settings of train_sft.py with these Hydra overrides; errors are those of `compose_config`."""
    return _compose("sft", SftConfig, overrides)


def compose_training(overrides: Sequence[str]) -> TrainingConfig:
    """The settings of train_sft.py if the overrides name its data, otherwise those of train_grpo.py; errors are those
    of `compose_config`."""
    return (compose_sft if any(override.startswith("data.") for override in overrides) else compose_config)(overrides)


def compose_pipeline(arguments: Sequence[str]) -> PipelineConfig:
    """Return the settings of `python -m pipelines`: those of conf/pipeline/NAME.yaml for pipeline=NAME, with the other
    arguments as overrides.

    An argument STAGE.KEY=VALUE is an override of that stage, and KIND.KEY=VALUE (or all.KEY=VALUE) one of all stages
    of that kind (or of any); the others are keys of PipelineConfig. For a stage the most special argument wins, and
    all of them over the file.

    Raises:
        ValueError: the pipeline is unknown, the arguments do not compose, or a value is not allowed.
    """
    names = sorted(path.stem for path in CONF.glob("pipeline/*.yaml"))
    chosen = [argument.removeprefix("pipeline=") for argument in arguments if argument.startswith("pipeline=")]
    if len(chosen) != 1 or chosen[0] not in names:
        raise ValueError(f"pipeline={', '.join(chosen)}: choose one of {', '.join(names)}")
    rest = [argument for argument in arguments if not argument.startswith("pipeline=")]
    try:
        # A folder of its own, because model=NAME would choose a file of conf/model/ otherwise. env=NAME is set
        # afterwards, because Hydra would choose among the schemas of the tasks.
        with initialize_config_dir(str(CONF / "pipeline"), version_base=None):
            stages = list(compose(chosen[0]).stages)
            of_stages = [argument for argument in rest if _target(argument) in (*stages, *ENTRY_POINTS, ALL)]
            envs = [argument for argument in rest if argument.startswith("env=")]
            raw = compose(chosen[0], [argument for argument in rest if argument not in (*of_stages, *envs)])
        for argument in envs:
            raw.env = argument.removeprefix("env=")
        cfg = settings_of(raw, PipelineConfig)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, PipelineConfig)) from error
    kinds_of = {ALL: list(ENTRY_POINTS), **{kind: [kind] for kind in ENTRY_POINTS}}
    # From the most general one to the most special one, which wins.
    for argument in sorted(of_stages, key=lambda argument: -len(kinds_of.get(_target(argument), []))):
        override = argument.partition(".")[2]
        kinds = kinds_of.get(_target(argument), [])
        for name, stage in cfg.stages.items():
            if name == _target(argument) or stage.kind in kinds:
                stage.overrides.append(override)
        for kind in kinds:  # for the evaluations too, which the file does not list
            cfg.overrides.setdefault(kind, []).append(override)
    return replace(cfg)  # checks the overrides


def _target(argument: str) -> str:
    """The stage or the kind of STAGE.KEY=VALUE."""
    return argument.partition(".")[0]


def compose_claims(names: Sequence[str] = ()) -> dict[str, ClaimConfig]:
    """Return the claims of conf/claims/ by name, in the order of their numbers; without a name all of them.

    Raises:
        ValueError: there is no claim with such a name, or a file has a value that is not allowed.
    """
    known = sorted(path.stem for path in CONF.glob("claims/*.yaml"))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"CLAIM={unknown[0]}: choose from {', '.join(known)}")
    claims = {}
    for name in names or known:
        try:
            with initialize_config_dir(str(CONF / "claims"), version_base=None):
                claims[name] = settings_of(compose(name), ClaimConfig)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ValueError(f"conf/claims/{name}.yaml: {one_line(error, ClaimConfig)}") from error
    return dict(sorted(claims.items(), key=lambda item: item[1].number))


def _compose_on_run(name: str, schema: type[Settings], overrides: Sequence[str], saved: Mapping[str, Any]) -> Settings:
    plain = [override.lstrip("+") for override in overrides]
    selected = {override.partition("=")[0] for override in plain}
    of_run = {group: saved[group] for group in ("model", "env") if group in saved and group not in selected}
    files = {group: file for group, file in _files_of(saved).items() if group.partition("@")[0] in of_run}
    groups = [f"{'+' if '@' in group else ''}{group}={file}" for group, file in files.items()]
    weights = of_run.get("env", {}).get("weights", {})  # those of parts that were added are not in the file
    groups += [f"++env.weights.{key}={weight}" for key, weight in weights.items()]
    leaves = [key for key in (override.partition("=")[0] for override in plain) if key.split(".")[0] in of_run]
    return _compose(name, schema, [*groups, *overrides], of_run, leaves)


def _files_of(saved: Mapping[str, Any]) -> Mapping[str, str]:
    """`chosen_groups` of a run. Older runs did not record them; their model and env have the names of their files."""
    if "groups" in saved:
        return saved["groups"]
    files = {group: saved[group]["name"] for group in ("model", "env") if group in saved}
    if files.get("env") == "mixed":
        files |= {f"env@env.parts.{key}": part["name"] for key, part in saved["env"]["parts"].items()}
    return files


def _compose(
    name: str,
    schema: type[Settings],
    overrides: Sequence[str],
    saved: Mapping[str, Any] | None = None,
    leaves: Sequence[str] = (),
) -> Settings:
    """Compose conf/<name>.yaml with the overrides, then merge `saved` into it, except for the keys `leaves`."""
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            raw = compose(name, list(overrides))
        merged = OmegaConf.merge(raw, saved or {})
        assert isinstance(merged, DictConfig)
        for key in leaves:
            OmegaConf.update(merged, key, OmegaConf.select(raw, key))
        return settings_of(merged, schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, schema)) from error

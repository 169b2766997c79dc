"""Composition of the settings by Hydra for commands that are not a Hydra main."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line, settings_of
from conf.schema import Config
from conf.strategies import EvaluateConfig
from conf.traces import TracesConfig
from conf.verifiers import TrainVerifierConfig

ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
ConfigStore.instance().store(name="traces_schema", node=TracesConfig)
ConfigStore.instance().store(name="train_verifier_schema", node=TrainVerifierConfig)

Settings = TypeVar("Settings", bound=Config)


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


def _compose_on_run(name: str, schema: type[Settings], overrides: Sequence[str], saved: Mapping[str, Any]) -> Settings:
    plain = [override.lstrip("+") for override in overrides]
    selected = {override.partition("=")[0] for override in plain}
    of_run = {group: saved[group] for group in ("model", "env") if group in saved and group not in selected}
    groups = [f"{group}={settings['name']}" for group, settings in of_run.items()]
    leaves = [override for override in plain if override.partition("=")[0].split(".")[0] in of_run]
    return _compose(name, schema, [*groups, *overrides], of_run, leaves)


def _compose(
    name: str,
    schema: type[Settings],
    overrides: Sequence[str],
    saved: Mapping[str, Any] | None = None,
    leaves: Sequence[str] = (),
) -> Settings:
    """Compose conf/<name>.yaml with the overrides, then merge `saved` and finally `leaves` into it."""
    try:
        with initialize_config_dir(str(Path(__file__).resolve().parent), version_base=None):
            raw = compose(name, list(overrides))
        merged = OmegaConf.merge(raw, saved or {}, OmegaConf.from_dotlist(list(leaves)))
        assert isinstance(merged, DictConfig)
        return settings_of(merged, schema)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, schema)) from error

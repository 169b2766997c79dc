"""Settings by Hydra's rules for the commands that are no training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line
from conf.schema import Config
from conf.strategies import EvaluateConfig
from conf.verifiers import TrainVerifierConfig

ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)
ConfigStore.instance().store(name="train_verifier_schema", node=TrainVerifierConfig)


def compose_config(overrides: Sequence[str]) -> Config:
    """The settings of training that these Hydra overrides make.

    Raises:
        ValueError: they do not compose, or a value is not allowed; in one line.
    """
    cfg = _composed("config", overrides, {}, Config)
    assert isinstance(cfg, Config)
    return cfg


def compose_evaluation(overrides: Sequence[str], saved: Mapping[str, Any]) -> EvaluateConfig:
    """The settings of an evaluation: those of a run (`saved`, its config.yaml, or nothing) for its model and
    task, and over them what these overrides say.

    Raises:
        ValueError: they do not compose, or a value is not allowed; in one line.
    """
    cfg = _composed_of_run("evaluate", overrides, saved, EvaluateConfig)
    assert isinstance(cfg, EvaluateConfig)
    return cfg


def compose_verifier(overrides: Sequence[str], saved: Mapping[str, Any]) -> TrainVerifierConfig:
    """The settings of tools/train_verifier.py, by the rules of `compose_evaluation`."""
    cfg = _composed_of_run("train_verifier", overrides, saved, TrainVerifierConfig)
    assert isinstance(cfg, TrainVerifierConfig)
    return cfg


def _composed_of_run(name: str, overrides: Sequence[str], saved: Mapping[str, Any], schema: type) -> Any:
    chosen = {override.partition("=")[0] for override in overrides}
    of_run = {group: saved[group] for group in ("model", "env") if group in saved and group not in chosen}
    groups = [f"{group}={settings['name']}" for group, settings in of_run.items()]
    leaves = [override for override in overrides if override.partition("=")[0].split(".")[0] in of_run]
    return _composed(name, [*groups, *overrides], of_run, schema, leaves)


def _composed(
    name: str, overrides: Sequence[str], saved: Mapping[str, Any], schema: type, leaves: Sequence[str] = ()
) -> Any:
    """`saved` goes over what Hydra composed, and `leaves` over that."""
    try:
        with initialize_config_dir(str(Path(__file__).resolve().parent), version_base=None):
            raw = compose(name, list(overrides))
        return OmegaConf.to_object(OmegaConf.merge(raw, saved, OmegaConf.from_dotlist(list(leaves))))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, schema)) from error

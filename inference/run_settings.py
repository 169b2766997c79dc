"""The settings of commands that can take a run's checkpoint as the model.

This is not part of conf/, which lies below workers/checkpoint.py in the layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from conf.strategies import FromRunConfig
from run.files import DamagedFile, read_yaml
from workers.checkpoint import list_checkpoints, verify_checkpoint

Settings = TypeVar("Settings", bound=FromRunConfig)


def run_settings(compose: Callable[[Sequence[str], Mapping[str, Any]], Settings], overrides: Sequence[str]) -> Settings:
    """Compose the settings; with run=NAME the model and the task default to those of outputs/NAME.

    The model's weights are those of the newest checkpoint, or of ckpt=NAME.

    Raises:
        ValueError: a setting is not allowed, another model is named besides the run, the run does not exist, or its
            checkpoint is missing or damaged.
    """
    given = dict(override.lstrip("+").split("=", maxsplit=1) for override in overrides if "=" in override)
    if (name := given.get("run")) is None:
        return compose(overrides, {})
    if not name:
        raise ValueError("run= is empty; give the name of a folder in outputs/, or no run to evaluate model=NAME")
    if other := next((key for key in ("model", "model.path", "model.local_path") if key in given), None):
        raise ValueError(
            f"{other}={given[other]} contradicts run={name}, whose checkpoint is the model; leave out one of them"
        )
    folder = Path("outputs", name)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"run={name}: {folder} is not a run; run must be the name of a folder in outputs/")
    do = "run the training command again, which writes it, or name another run"
    saved = read_yaml(folder / "config.yaml", do, ("model", "env"))
    for group in ("model", "env"):
        if not isinstance(saved[group], dict) or "name" not in saved[group]:
            raise DamagedFile(f"{folder / 'config.yaml'}: {group} has no name; {do}")
    cfg = compose(overrides, saved)
    checkpoints = {path.name: path for path in list_checkpoints(folder / "checkpoints")}
    if not checkpoints:
        raise ValueError(f"run={name}: {folder} has no checkpoint yet")
    if cfg.ckpt is not None and cfg.ckpt not in checkpoints:
        raise ValueError(f"ckpt must be a checkpoint of {folder}, {', '.join(checkpoints)}; got {cfg.ckpt}")
    path = checkpoints[cfg.ckpt or max(checkpoints)]
    verify_checkpoint(path)
    return replace(cfg, model=replace(cfg.model, path=str(path / "hf"), local_path=None))

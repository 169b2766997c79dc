"""The settings of the commands that read a model, be it a run's checkpoint or any other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from conf.strategies import OfRunConfig
from workers.checkpoint import list_checkpoints, verify

Settings = TypeVar("Settings", bound=OfRunConfig)


def settings(compose: Callable[[Sequence[str], Mapping[str, Any]], Settings], overrides: Sequence[str]) -> Settings:
    """What `compose` makes of the overrides and of the run they name, whose checkpoint is the model.

    Raises:
        ValueError: a setting; no such run, or no whole checkpoint in it.
    """
    named = dict(override.split("=", maxsplit=1) for override in overrides if "=" in override)
    if not (name := named.get("run", "")):
        return compose(overrides, {})
    folder = Path("outputs", name)
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"run={name}: {folder} holds no run; give the name of a folder in outputs/")
    cfg = compose(overrides, yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    checkpoints = {path.name: path for path in list_checkpoints(folder / "checkpoints")}
    if not checkpoints or (cfg.ckpt is not None and cfg.ckpt not in checkpoints):
        raise ValueError(f"ckpt={cfg.ckpt}: {folder} has the checkpoints {', '.join(checkpoints) or 'none'}")
    path = checkpoints[cfg.ckpt or max(checkpoints)]
    verify(path)
    return replace(cfg, model=replace(cfg.model, path=str(path / "hf"), local_path=None))

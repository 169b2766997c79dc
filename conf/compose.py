"""A task or a reward by name, for the commands that need no whole run."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line
from conf.schema import Config


def compose_config(overrides: Sequence[str]) -> Config:
    """The settings that these Hydra overrides make.

    Raises:
        ValueError: they do not compose, or a value is not allowed; in one line.
    """
    try:
        with initialize_config_dir(str(Path(__file__).resolve().parent), version_base=None):
            cfg = OmegaConf.to_object(compose("config", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, Config)) from error
    assert isinstance(cfg, Config)
    return cfg

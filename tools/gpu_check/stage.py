"""What a stage of the check is given, and what it reports."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch

from conf.compose import compose_config
from conf.schema import Config
from tools.planner.shape import config_of

GIB = 2**30
ROLLOUT_RUN = "gpu-check-rollout"  # the name under which the rollout stage starts workers in its own process
T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """One figure of a stage.

    name      unique within its stage; the planner reads those that are named like its efficiencies
    planned   what `make plan` expects, in the same unit, or None
    passed    whether the value is what it must be, or None if every value is allowed
    """

    name: str
    value: float | str
    unit: str = ""
    planned: float | None = None
    passed: bool | None = None

    @property
    def error(self) -> float | None:
        """By how much the measured value exceeds the planned one, as a fraction of the planned one."""
        if self.planned is None or isinstance(self.value, str) or self.planned == 0:
            return None
        return self.value / self.planned - 1


@dataclass(frozen=True)
class Setup:
    """
    model     a name in conf/model, for example "qwen-0.5b"; on a CPU the tiny model takes its place
    gpu       a name in the planner's table of GPUs, or None if it does not list this one
    folder    for files of this stage
    seconds   after which the stage is ended
    """

    device: str
    model: str
    gpu: str | None
    folder: Path
    seconds: float

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def config(self, *overrides: str, model: str | None = None) -> Config:
        """The settings of a run of `model`, by default the one that is checked."""
        name = (model or self.model) if self.on_gpu else "tiny"
        return compose_config([f"model={name}", "tracker=none", f"topology.device={self.device}", *overrides])

    def random_model(self, name: str) -> Path:
        """A folder with a model of conf/model that has random weights and the tiny model's tokenizer.

        The configs are part of the repository, so no network is needed. Speed and memory do not depend on the values.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = self.folder.parent / "models" / (name if self.on_gpu else "tiny")
        if not (path / "config.json").is_file():
            cfg = self.config(model=name)
            torch.manual_seed(0)
            with torch.device(self.device):
                model = AutoModelForCausalLM.from_config(config_of(cfg.model), dtype=getattr(torch, cfg.model.dtype))
            model.save_pretrained(path)
            AutoTokenizer.from_pretrained(self.config(model="tiny").model.source).save_pretrained(path)
        return path

    def timed(self, function: Callable[[], T]) -> tuple[T, float]:
        """What the function returns, and its seconds until the device has finished."""
        self.synchronize()
        start = time.perf_counter()
        result = function()
        self.synchronize()
        return result, time.perf_counter() - start

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


def write_measurements(path: Path, measurements: Iterator[Measurement]) -> bool:
    """Append each measurement to a file of JSON lines as it is made; return whether none of them failed."""
    passed = True
    with path.open("a") as file:
        for measurement in measurements:
            file.write(json.dumps(asdict(measurement)) + "\n")
            file.flush()
            passed &= measurement.passed is not False
    return passed


def read_measurements(path: Path) -> list[Measurement]:
    """The measurements that were complete when their stage ended."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [Measurement(**json.loads(line)) for line in lines if line.endswith("\n")]

"""A run of train_grpo.py, started as a user starts it and observed from outside."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from run.folder import RunFolder
from tools.gpu_check.stage import GIB, Setup
from workers.shared_memory import shared_folder

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "envs" / "countdown" / "models" / "tiny"
POLL_SECONDS = 0.2
EXIT_SECONDS = 10.0
LAST_LINES = 15


class RunEnded(RuntimeError):  # noqa: N818 - reads as a state
    """The run ended while it was still needed; the message has its last lines of output."""


@dataclass(frozen=True)
class TrainingRun:
    """A running train_grpo.py. started: when, by time.monotonic; log: its output."""

    process: subprocess.Popen[bytes]
    folder: RunFolder
    log: Path
    started: float

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The metrics of the training steps so far."""
        return [row for row in self.folder.metric_rows() if "time/step" in row]

    def wait(self, condition: Callable[[], bool], end: float) -> bool:
        """Wait until `condition` holds, or until `end` by time.monotonic; return whether it holds.

        Raises:
            RunEnded: the run ended first.
        """
        while not condition():
            if self.process.poll() is not None and not condition():
                raise RunEnded(f"train_grpo.py ended with code {self.process.returncode}:\n{self.last_lines}")
            if time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def worker(self, role: str) -> psutil.Process:
        """The first rank's process, from the file in which it announced its number."""
        announced = shared_folder(self.folder.path) / f"{role}-0.pid"
        return psutil.Process(int(announced.read_text(encoding="utf-8")))

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def last_lines(self) -> str:
        return "\n".join(self.output.splitlines()[-LAST_LINES:])


@contextmanager
def training_run(setup: Setup, name: str, *overrides: str) -> Iterator[TrainingRun]:
    """Start a run in the stage's folder; on exit, kill what is left of it and free its shared memory."""
    folder, log = RunFolder(setup.folder / "outputs" / name), setup.folder / f"{name}.log"
    command = [sys.executable, str(ROOT / "train_grpo.py"), f"run={name}", "tracker=none", *overrides]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=setup.folder, stdout=file, stderr=subprocess.STDOUT)
    run = TrainingRun(process, folder, log, time.monotonic())
    try:
        yield run
    finally:
        kill(process)
        shutil.rmtree(shared_folder(folder.path), ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all its descendants, and wait until they are gone."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    process.wait()
    psutil.wait_procs(family, timeout=EXIT_SECONDS)


def tiny_run(setup: Setup) -> list[str]:
    """The settings of a run of the tiny model on countdown, on one GPU in bfloat16, or on the CPU. Without CUDA graphs
    the engine starts half a minute earlier, which is more than they save."""
    on_gpu = ["topology=one_gpu", "model.dtype=bfloat16", "rollout.enforce_eager=true"]
    return ["model=tiny", f"model.path={TINY}", *(on_gpu if setup.on_gpu else ["topology=cpu"])]


def gpu_memory_used() -> float:
    """GiB in use on the GPU, by all processes."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / GIB

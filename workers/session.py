"""Ray for the time of a run, and waiting for what it does."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch

from conf.schema import Config
from workers.interrupt import Interrupt

REPOSITORY = Path(__file__).resolve().parent.parent
# Threads that spin while they wait starve the other workers on a few cores.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@dataclass
class Clock:
    """Seconds spent waiting for each phase since it was last read."""

    interrupt: Interrupt
    seconds: dict[str, float] = field(default_factory=dict)

    def wait(self, phase: str, pending: Any, interruptible: bool = False) -> Any:
        """The result of a Ray reference or a list of them; an interruptible wait ends early, by
        `Interrupted`, when the user asks the run to stop."""
        started = time.monotonic()
        refs = pending if isinstance(pending, list) else [pending]
        while len(ray.wait(refs, num_returns=len(refs), timeout=0.2)[0]) < len(refs):
            if interruptible:
                self.interrupt.check()
        result = ray.get(pending)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started
        return result

    def first_ready(self, phase: str, streams: list[Any]) -> Any:
        """The first of Ray's streams that has an item or has ended; interruptible."""
        started = time.monotonic()
        while not (ready := ray.wait(streams, timeout=0.2)[0]):
            self.interrupt.check()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started
        return ready[0]

    def read(self) -> dict[str, float]:
        seconds, self.seconds = self.seconds, {}
        return seconds


@contextmanager
def ray_session(cfg: Config, device: str, interrupt: Interrupt) -> Iterator[None]:
    """A local Ray, or a cluster joined; on the way out, whatever happened, it is left and its processes end."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token to the home folder
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"PYTHONPATH": str(REPOSITORY)} | (PATIENT_THREADS if device == "cpu" else {})
    local = {} if cfg.topology.ray_address else {"num_cpus": 2 + cfg.rollout.replicas, "include_dashboard": False}
    with shielded_from_sigterm():
        ray.init(
            address=cfg.topology.ray_address or "local",  # else Ray joins one that `ray start` left, or RAY_ADDRESS
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": environment},
            **local,
        )
    interrupt.listen()  # after Ray, which takes SIGTERM for itself
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def shielded_from_sigterm() -> Iterator[None]:
    """Processes started within ignore SIGTERM. A signal to the whole process group, as `timeout`
    and batch systems send it, would else end Ray before the run could write its checkpoint."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pick_device(wanted: str) -> str:
    """ "cpu" or "cuda".

    Raises:
        ValueError: a GPU is asked for and PyTorch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("topology.device=cuda, but PyTorch sees no GPU; choose cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"

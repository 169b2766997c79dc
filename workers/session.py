"""Ray for the time of a run, with the places that its processes take."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from conf.schema import Config
from workers.interrupt import Interrupt
from workers.layout import Layout, check_ranks, make_layout
from workers.placement import ROLES, reserve
from workers.waiting import Clock
from workers.weight_sync import remove, shared_folder

REPOSITORY = Path(__file__).resolve().parent.parent
# Threads that spin while they wait starve the other workers on a few cores.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@dataclass(frozen=True)
class Session:
    """What a run's processes are started with.

    gpus    whether places are GPUs, real or pretended
    places  Ray's scheduling strategy of each place of the layout
    folder  of the run, in shared memory
    nodes   how many there were at the start
    """

    device: str
    gpus: bool
    layout: Layout
    places: list[Any]
    clock: Clock
    folder: Path
    nodes: int

    def lost_a_node(self) -> bool:
        """Whether a node that was there at the start is gone."""
        return _living_nodes() < self.nodes


@contextmanager
def ray_session(cfg: Config, device: str, interrupt: Interrupt) -> Iterator[Session]:
    """A local Ray, or a cluster joined; on the way out, whatever happened, it is left and its processes end.

    Raises:
        ValueError: the topology does not fit the GPUs.
        TimeoutError: a cluster did not have the places free in time.
    """
    folder = shared_folder(Path("outputs", cfg.run))
    _start_ray(cfg, device)
    interrupt.listen()  # after Ray, which takes SIGTERM for itself
    try:
        layout, places, gpus = _take_places(cfg, device)
        clock = Clock(interrupt, cfg.topology.timeout_s)
        yield Session(device, gpus, layout, places, clock, folder, _living_nodes())
    finally:
        ray.shutdown()
        remove(folder)


def _take_places(cfg: Config, device: str) -> tuple[Layout, list[Any], bool]:
    """The layout on the GPUs that are there, its places, and whether these are GPUs."""

    def count() -> int | None:
        declared = int(ray.cluster_resources().get("GPU", 0))
        return declared if declared or device == "cuda" else None

    while True:
        gpus = count()
        layout = make_layout(cfg.topology, cfg.rollout, gpus)
        places = reserve(layout.places, gpus is not None, cfg.topology.timeout_s, lambda: count() == gpus)  # noqa: B023
        if places is not None:
            return layout, places, gpus is not None


def _living_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _start_ray(cfg: Config, device: str) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token to the home folder
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"PYTHONPATH": str(REPOSITORY)} | (PATIENT_THREADS if device == "cpu" else {})
    local: dict[str, Any] = {}
    if cfg.topology.ray_address is None:
        gpus = _own_gpus(cfg, device)
        places = gpus or make_layout(cfg.topology, cfg.rollout, None).places
        local = {"num_cpus": ROLES * places, "num_gpus": gpus or 0, "include_dashboard": False}
    with shielded_from_sigterm():
        ray.init(
            address=cfg.topology.ray_address or "local",  # else Ray joins one that `ray start` left, or RAY_ADDRESS
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": environment},
            **local,
        )


@contextmanager
def shielded_from_sigterm() -> Iterator[None]:
    """Processes started within ignore SIGTERM. A signal to the whole process group, as `timeout`
    and batch systems send it, would else end Ray before the run could write its checkpoint."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_topology(cfg: Config) -> None:
    """Fail before anything starts, where the GPUs are this machine's.

    Raises:
        ValueError: the topology does not fit them.
    """
    device = pick_device(cfg.topology.device)
    if cfg.topology.ray_address is None:
        check_ranks(cfg, make_layout(cfg.topology, cfg.rollout, _own_gpus(cfg, device)))


def _own_gpus(cfg: Config, device: str) -> int | None:
    """This machine's GPUs, or those that a CPU is to pretend, if any."""
    return torch.cuda.device_count() if device == "cuda" else cfg.topology.num_gpus


def pick_device(wanted: str) -> str:
    """ "cpu" or "cuda".

    Raises:
        ValueError: a GPU is asked for and PyTorch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("topology.device=cuda, but PyTorch sees no GPU; choose cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"

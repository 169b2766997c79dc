"""Ray for the duration of a run, and the bundles that its processes use."""

import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import ray
import torch
from ray._private import ray_constants
from ray.exceptions import RayError

from conf.launch import checking_settings
from conf.sft import TrainingConfig
from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from run.lock import FolderInUse, lock
from workers.interrupt import Interrupt
from workers.machine import check_machine, ray_folder
from workers.models import pick_device
from workers.placement import ROLES, Placement, check_ranks, make_placement, reserve_bundles
from workers.rank_group import PhaseTimer, RankGroup, Worker
from workers.shared_memory import shared_folder
from workers.weights import Transfer

STOP_SECONDS = 1.0
REPOSITORY = Path(__file__).resolve().parent.parent
# Threads that spin while they wait slow down the other workers on a machine with few cores.
PASSIVE_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


class WorkerSettings(Protocol):
    """The settings that a session and a rollout pool need; those of training and of evaluation have them."""

    model: ModelConfig
    rollout: RolloutConfig
    topology: TopologyConfig


@dataclass(frozen=True)
class Session:
    """The resources that the processes of a run are started with.

    has_gpus   whether bundles are GPUs, real or simulated
    bundles    Ray's scheduling strategy of each bundle of the placement
    folder     the run's folder in shared memory
    num_nodes  number of nodes at the start
    """

    device: str
    has_gpus: bool
    placement: Placement
    bundles: list[Any]
    folder: Path
    num_nodes: int
    timer: PhaseTimer
    interrupt: Interrupt
    timeout_s: float

    @property
    def gpus(self) -> list[str]:
        """The name of each GPU of the run; empty on a CPU."""
        return [torch.cuda.get_device_name(0)] * self.placement.num_bundles if self.device == "cuda" else []

    def group(self, workers: list[Worker]) -> RankGroup:
        return RankGroup(workers, self.timer, self.interrupt, self.timeout_s)

    def lost_a_node(self) -> bool:
        """Whether a node that was there at the start is gone."""
        return _living_nodes() < self.num_nodes


@contextmanager
def ray_session(cfg: WorkerSettings, output: Path, device: str, interrupt: Interrupt) -> Iterator[Session]:
    """Start a local Ray or join a cluster. On exit, for any reason, leave it and end its processes.

    output  the file or folder that this process alone writes; it names the folder in shared memory

    Raises:
        SystemExit: the topology does not fit the GPUs.
        TimeoutError: the bundles of a cluster were not free in time.
        FolderInUse: another process, such as a container with the same paths, uses the folder in shared memory.
    """
    folder = shared_folder(output)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = lock(folder, "give this one another name")
    try:
        _start_ray(cfg, device)
        interrupt.listen()  # after Ray, which installs its own SIGTERM handler
        with checking_settings():
            placement, bundles, has_gpus = _reserve(cfg, device)
        timeout_s = cfg.topology.timeout_s
        yield Session(device, has_gpus, placement, bundles, folder, _living_nodes(), PhaseTimer(), interrupt, timeout_s)
    finally:
        _stop_ray()
        shutil.rmtree(folder, ignore_errors=True)
        own.close()


def free_shared_memory(output: Path) -> None:
    """Remove the folder in shared memory of a process that was killed, unless another one uses it."""
    folder = shared_folder(output)
    if folder.is_dir():
        with suppress(FolderInUse):
            own = lock(folder, "wait")
            shutil.rmtree(folder, ignore_errors=True)
            own.close()


def _reserve(cfg: WorkerSettings, device: str) -> tuple[Placement, list[Any], bool]:
    """The placement on the GPUs that the cluster has, its bundles, and whether those are GPUs."""

    def count() -> int | None:
        declared = int(ray.cluster_resources().get("GPU", 0))
        return declared if declared or device == "cuda" else None

    while True:
        gpus = count()
        placement = make_placement(cfg.topology, cfg.rollout, gpus)
        bundles = reserve_bundles(
            placement.num_bundles,
            gpus is not None,
            cfg.topology.timeout_s,
            lambda: count() == gpus,  # noqa: B023
        )
        if bundles is not None:
            return placement, bundles, gpus is not None


def _living_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _start_ray(cfg: WorkerSettings, device: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"PYTHONPATH": str(REPOSITORY)} | (PASSIVE_THREADS if device == "cpu" else {})
    settings: dict[str, Any] = {"runtime_env": {"env_vars": environment}}
    if cfg.topology.ray_address is None:
        gpus = _own_gpus(cfg.topology, device)
        bundles = gpus or make_placement(cfg.topology, cfg.rollout, None).num_bundles
        settings = {"num_cpus": ROLES * bundles, "num_gpus": gpus or 0, "include_dashboard": False}
        settings["_temp_dir"] = str(ray_folder())
        _isolate()
        os.environ |= environment  # Ray starts processes in advance, and uses those without a runtime environment
    address = cfg.topology.ray_address or "local"  # or Ray would join a cluster that it finds by itself
    try:
        with shielded_from_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **settings)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        where = "a local Ray could not be started" if address == "local" else f"topology.ray_address={address}"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SystemExit(f"error: {where}: {reason}") from error


def _isolate() -> None:
    """Give the local Ray a token for this run alone, and keep it to this machine. Its processes execute what they are
    sent by anyone who has the token. It is kept in the environment of the run's processes and nowhere else."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    ray._raylet.Config.initialize("")  # Ray has read the mode when it was imported
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    # Where Ray supports no clusters, as on macOS, it listens on loopback alone instead of all interfaces.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def _stop_ray() -> None:
    """Leave Ray, and end it if it is local. Its processes are shielded from SIGTERM, by which Ray would end one after
    the other and wait a second for each. They are killed at once; their children notice, or are killed too."""
    node = ray._private.worker._global_node
    if node is None:
        return
    kill, children = node.kill_all_processes, list[psutil.Process]()
    for _, process in node.live_processes():
        with suppress(psutil.NoSuchProcess):
            children += psutil.Process(process.pid).children(recursive=True)
    node.kill_all_processes = lambda **_: kill(check_alive=False, allow_graceful=False)
    ray.shutdown()
    for child in psutil.wait_procs(children, timeout=STOP_SECONDS)[1]:
        with suppress(psutil.NoSuchProcess):  # it has ended since
            child.kill()


@contextmanager
def shielded_from_sigterm() -> Iterator[None]:
    """Processes that start inside this block ignore SIGTERM. `timeout` and batch systems signal the whole process
    group, which would otherwise end Ray before the run could write its checkpoint."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_topology(cfg: TrainingConfig) -> None:
    """Check the topology against this machine's GPUs before anything starts. A cluster is checked when it is joined.

    Raises:
        ValueError: the topology does not fit them, or something on this machine is in the way of Ray.
    """
    device = pick_device(cfg.topology.device)
    check_machine(cfg.topology.ray_address)
    if cfg.topology.ray_address is None:
        placement = make_placement(cfg.topology, cfg.rollout, _own_gpus(cfg.topology, device))
        check_ranks(cfg.topology, cfg.algorithm, cfg.rows_per_update, placement)
        check_transfer(Transfer.of(cfg.topology, device), cfg.rollout, placement)


def check_transfer(transfer: Transfer, rollout: RolloutConfig, placement: Placement) -> None:
    """Check that the weights can reach the samplers.

    Raises:
        ValueError: they cannot.
    """
    if transfer is Transfer.SHARED_MEMORY:
        return
    if rollout.backend != "vllm":
        raise ValueError(
            f"topology.weight_transfer={transfer} requires rollout.backend=vllm, got {rollout.backend}; choose shm"
        )
    training, generating = set(placement.actor), {bundle for engine in placement.rollout for bundle in engine}
    if transfer is Transfer.IPC and not generating <= training:
        raise ValueError(
            "topology.weight_transfer=ipc requires that a rank of the actor is on every GPU that generates; choose "
            "topology=one_gpu or topology=colocated without topology.actor_ranks, or shm"
        )
    if transfer is Transfer.NCCL and generating & training:
        raise ValueError(
            "topology.weight_transfer=nccl requires that no GPU both trains and generates; choose topology=split or "
            "topology.weight_transfer=ipc"
        )


def _own_gpus(topology: TopologyConfig, device: str) -> int | None:
    """The number of this machine's GPUs, or of simulated GPUs on a CPU."""
    return torch.cuda.device_count() if device == "cuda" else topology.num_gpus

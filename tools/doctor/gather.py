"""Collect all facts at once. Slow probes, such as imports and network requests, run in parallel."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from conf.sft import TrainingConfig
from tools.doctor import cluster, data, gpus, host, network, ports, software
from tools.doctor.facts import Facts, Requirements, Unknown
from tools.doctor.probe import known, output_of, within
from workers import machine, nvidia
from workers.nvidia import Driver
from workers.placement import make_placement
from workers.shared_memory import SHARED_MEMORY

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT_SECONDS = 15.0
TRACE_SECONDS = 120.0


def gather(cfg: TrainingConfig, overrides: Sequence[str]) -> Facts:
    """overrides: those that `cfg` was composed from."""
    driver = known(lambda: driver_of(cfg))
    num_gpus = len(driver.gpus) if isinstance(driver, Driver) else 0
    lock = ROOT / ("tools/install/requirements.txt" if num_gpus else "tools/install/requirements-cpu.txt")
    single = Unknown("this machine has at most one GPU")
    probes: dict[str, Callable[[], Any]] = {
        "packages": lambda: software.packages(lock),
        "torch": software.torch,
        "vllm": software.vllm,
        "peers": gpus.peers if num_gpus > 1 else lambda: single,
        "cpu": host.cpu,
        "memory": host.memory,
        "shared_memory": lambda: host.space(SHARED_MEMORY),
        "outputs": lambda: host.space(Path("outputs")),
        "hub_cache": lambda: host.space(Path(constants.HF_HUB_CACHE)),
        "open_files": machine.open_file_limit,
        "data": lambda: data.faults(cfg),
        "obstacles": lambda: obstacles(cfg),
        "listeners": ports.listeners,
        "leftovers": host.leftovers,
        "hub": lambda: network.hub(cfg),
        "requirements": lambda: requirements(cfg, driver, overrides),
        "wandb_account": lambda: account(cfg),
        "cluster": lambda: cluster.nodes(cfg.topology.ray_address, ROOT),
        "cluster_is_open": lambda: cluster.is_open(cfg.topology.ray_address, ROOT),
    }
    with ThreadPoolExecutor(len(probes)) as pool:
        futures = {name: pool.submit(known, probe) for name, probe in probes.items()}
        facts: dict[str, Any] = {name: future.result() for name, future in futures.items()}
    return Facts(python=sys.version_info[:3], driver=driver, **facts)


def driver_of(cfg: TrainingConfig) -> Driver:
    """The driver with the GPUs that the run would use: the first ones that CUDA_VISIBLE_DEVICES shows.

    Raises:
        OSError: there is no GPU.
    """
    driver, gpus = nvidia.driver(), nvidia.visible_gpus()
    if not gpus:
        raise OSError(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')} hides all GPUs")
    if cfg.topology.ray_address is None:
        with suppress(ValueError):  # too few, which the check of the topology reports
            gpus = gpus[: make_placement(cfg.topology, cfg.rollout, len(gpus)).num_bundles]
    return replace(driver, gpus=tuple(gpus))


def uses_gpus(cfg: TrainingConfig, driver: Driver | Unknown) -> bool:
    return isinstance(driver, Driver) and cfg.topology.device != "cpu"


def obstacles(cfg: TrainingConfig) -> Mapping[str, machine.Obstacle | None] | Unknown:
    return Unknown("this run joins a cluster") if cfg.topology.ray_address else machine.local_obstacles()


def requirements(cfg: TrainingConfig, driver: Driver | Unknown, overrides: Sequence[str]) -> Requirements:
    """Ask the planner, in a process of its own, since it imports torch.

    Raises:
        OSError: the planner could not tell; the message has its reason.
        TimeoutError: it took too long.
    """
    installed = driver.gpus if isinstance(driver, Driver) and uses_gpus(cfg, driver) else ()
    memories = json.dumps([(gpu.name, gpu.total_gb * 1024) for gpu in installed])
    command = [sys.executable, "-m", "tools.doctor.requirements", memories, *overrides]
    found = json.loads(output_of(command, TRACE_SECONDS).splitlines()[-1])
    return Requirements(**(found | {"vllm": tuple(found["vllm"])}))


def account(cfg: TrainingConfig) -> bool | Unknown:
    if "wandb" not in cfg.tracker.names or cfg.tracker.mode == "offline":
        return Unknown("this run does not log to wandb online")
    return within(ACCOUNT_SECONDS, network.has_wandb_account)

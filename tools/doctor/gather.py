"""All facts at once: the slow ones, imports and questions to the network, side by side."""

import json
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from conf.schema import Config
from tools.doctor.facts import Driver, Facts, Node, Unknown
from tools.doctor.probes import gpu, known, machine, model, network, output_of, software, within

ROOT = Path(__file__).resolve().parents[2]
CLUSTER_SECONDS = 40.0
ACCOUNT_SECONDS = 15.0


def gather(cfg: Config) -> Facts:
    driver = known(gpu.driver)
    num_gpus = len(driver.gpus) if isinstance(driver, Driver) else 0
    lock = ROOT / ("tools/install/requirements.txt" if num_gpus else "tools/install/requirements-cpu.txt")
    alone = Unknown("it is one GPU, or none")
    probes: dict[str, Callable[[], Any]] = {
        "packages": lambda: software.packages(lock),
        "torch": software.torch,
        "vllm": software.vllm,
        "peers": gpu.peers if num_gpus > 1 else lambda: alone,
        "cpu": machine.cpu,
        "memory": machine.memory,
        "shared_memory": lambda: machine.space(machine.SHARED_MEMORY),
        "outputs": lambda: machine.space(Path("outputs")),
        "hub_cache": lambda: machine.space(Path(constants.HF_HUB_CACHE)),
        "open_files": machine.open_files,
        "leftovers": machine.leftovers,
        "rendezvous": machine.rendezvous if num_gpus > 1 else lambda: alone,
        "hub": lambda: network.hub(cfg),
        "parameters": lambda: model.parameters(cfg.model.source),
        "wandb_account": lambda: account(cfg),
        "cluster": lambda: cluster(cfg.topology.ray_address),
    }
    with ThreadPoolExecutor(len(probes)) as pool:
        futures = {name: pool.submit(known, probe) for name, probe in probes.items()}
        facts: dict[str, Any] = {name: future.result() for name, future in futures.items()}
    return Facts(python=sys.version_info[:3], driver=driver, **facts)


def account(cfg: Config) -> bool | Unknown:
    if "wandb" not in cfg.tracker.names or cfg.tracker.mode == "offline":
        return Unknown("this run does not log to wandb online")
    return within(ACCOUNT_SECONDS, network.has_wandb_account)


def cluster(address: str | None) -> tuple[Node, ...] | Unknown:
    """The nodes of the cluster that the run joins.

    Raises:
        OSError: nothing listens there, or it refuses this machine; in Ray's words.
    """
    if address is None:
        return Unknown("topology.ray_address is not set")
    if ":" in address:
        network.check_port(address)
    printed = output_of([sys.executable, "-m", "workers.nodes", address], CLUSTER_SECONDS, ROOT)
    return tuple(Node(**node) for node in json.loads(printed.splitlines()[-1]))


def here() -> Node:
    return Node("here", platform.python_version(), metadata.version("ray"), metadata.version("torch"), 0.0)

"""What is installed on the nodes of a Ray cluster, and their clocks: `python -m workers.nodes ADDRESS` prints it."""

import json
import os
import platform
import sys
import time
from importlib import metadata
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SECONDS = 20.0


def describe() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "ray": ray.__version__,
        "torch": metadata.version("torch"),
        "time": time.time(),
    }


def nodes(address: str) -> list[dict[str, Any]]:
    """Each living node's versions, its address, and `seconds_ahead`: its clock before this machine's, to the
    time that a task takes.

    Raises:
        ray.exceptions.GetTimeoutError: a node gave no answer.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # as workers/session.py does
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    alive = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(describe)
    found = []
    for node in alive:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        said = ray.get(task.options(num_cpus=0, scheduling_strategy=there).remote(), timeout=SECONDS)
        ahead = said.pop("time") - time.time()
        found.append({**said, "address": node["NodeManagerAddress"], "seconds_ahead": ahead})
    return found


if __name__ == "__main__":
    print(json.dumps(nodes(sys.argv[1])))

"""The software and the clocks of the nodes of a Ray cluster: `python -m workers.nodes ADDRESS` prints them as JSON."""

import json
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
    """The versions and the address of each living node, and `seconds_ahead`, by how much its clock is ahead of this
    machine's (accurate to the duration of a task).

    Raises:
        ray.exceptions.GetTimeoutError: a node did not answer.
    """
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    alive = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(describe)
    found = []
    for node in alive:
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answer = ray.get(task.options(num_cpus=0, scheduling_strategy=on_node).remote(), timeout=SECONDS)
        ahead = answer.pop("time") - time.time()
        found.append({**answer, "address": node["NodeManagerAddress"], "seconds_ahead": ahead})
    return found


if __name__ == "__main__":
    print(json.dumps(nodes(sys.argv[1])))

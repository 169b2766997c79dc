"""Which GPUs each role uses, and the Ray placement group that reserves them.

A bundle is a GPU, or on a machine without GPUs a share of its CPU; bundles are numbered from 0.
"""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from conf.algorithms import AlgorithmConfig
from conf.workers import RolloutConfig, TopologyConfig

ADDRESS_SECONDS = 120.0
POLL_SECONDS = 3.0
ROLES = 3  # actor, reference and rollout may share a bundle; each takes one of its CPUs


@dataclass(frozen=True)
class Placement:
    """The bundles of each role.

    actor    the bundle of each rank of the actor; the reference uses the same ones
    rollout  the bundles of each replica, one for each of its tensor-parallel ranks
    """

    actor: tuple[int, ...]
    rollout: tuple[tuple[int, ...], ...]

    @property
    def num_bundles(self) -> int:
        return 1 + max(*self.actor, *(bundle for replica in self.rollout for bundle in replica))


def make_placement(topology: TopologyConfig, rollout: RolloutConfig, gpus: int | None) -> Placement:
    """Assign the roles to `gpus` GPUs, real or simulated; None stands for a CPU with as many bundles as requested.

    Colocated, every role uses every GPU. Otherwise the first GPUs train and the others generate, half of them unless
    `rollout.replicas` is set.

    Raises:
        ValueError: there are not enough GPUs for the roles.
    """
    width = rollout.tensor_parallel_size
    if gpus is None:
        ranks, replicas = topology.actor_ranks or 1, rollout.replicas or 1
    else:
        gpus = _used_gpus(topology, gpus)
        for_rollout = gpus if topology.colocate else (rollout.replicas or 0) * width or gpus // 2
        replicas = rollout.replicas or for_rollout // width
        ranks = topology.actor_ranks or (gpus if topology.colocate else gpus - for_rollout)
        needed = max(ranks, replicas * width) if topology.colocate else ranks + replicas * width
        if ranks < 1 or replicas < 1 or needed > gpus:
            raise ValueError(
                f"topology={topology.name}: {max(ranks, 0)} actor ranks and {replicas} rollout replicas of {width} "
                f"GPU(s) do not fit on {gpus} GPU(s); change topology.actor_ranks, rollout.replicas or "
                "rollout.tensor_parallel_size, or choose topology=one_gpu"
            )
    first = 0 if topology.colocate else ranks
    engines = [range(first + start, first + start + width) for start in range(0, replicas * width, width)]
    return Placement(tuple(range(ranks)), tuple(tuple(engine) for engine in engines))


def _used_gpus(topology: TopologyConfig, gpus: int) -> int:
    wanted = topology.num_gpus or gpus
    if wanted > gpus:
        raise ValueError(f"topology.num_gpus={wanted} exceeds the number of GPUs, {gpus}; choose at most that many")
    return wanted


def check_ranks(topology: TopologyConfig, algorithm: AlgorithmConfig, rows: int, placement: Placement) -> None:
    """Check that the actor's ranks can share an update of `rows` completions.

    Raises:
        ValueError: they cannot.
    """
    ranks = len(placement.actor)
    if rows % ranks:
        raise ValueError(
            f"algorithm.num_prompts x group_size / num_minibatches = {rows} completions per update cannot be "
            f"shared by {ranks} actor ranks; choose a multiple of {ranks}, or another topology.actor_ranks"
        )
    if algorithm.optimizer.name == "adamw_8bit" and (ranks > 1 or topology.offload_actor):
        raise ValueError(
            "algorithm.optimizer.name=adamw_8bit does not support several actor ranks or "
            "topology.offload_actor=true; choose adamw"
        )


def reserve_bundles(
    count: int, gpus: bool, timeout_s: float, unchanged: Callable[[], bool]
) -> list[PlacementGroupSchedulingStrategy] | None:
    """Reserve bundles and return their scheduling strategies, ordered so that the bundles of a node are adjacent. The
    tensor-parallel ranks of an engine use consecutive bundles; they share a node if their number divides the bundles of
    every node and, unless the roles are colocated, the ranks of the actor. Returns None as soon as the cluster is not
    `unchanged` while waiting, since Ray may notice late that a node is gone.

    Raises:
        TimeoutError: the bundles were not free within `timeout_s`.
    """
    bundle = {"CPU": float(ROLES)} | ({"GPU": 1.0} if gpus else {})
    group = placement_group([bundle] * count, strategy="PACK")
    started = time.monotonic()
    while not group.wait(min(POLL_SECONDS, timeout_s)):
        if not unchanged():
            remove_placement_group(group)
            return None
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(
                f"topology: Ray could not reserve {count} bundles of {bundle} within {timeout_s:.0f} s; "
                f"{ray.available_resources()} of {ray.cluster_resources()} are free; request fewer, or raise "
                "topology.timeout_s"
            )
    return [_strategy(group, index) for index in node_by_node(placement_group_table(group)["bundles_to_node_id"])]


def check_one_machine(strategies: Sequence[Any]) -> None:
    """Check that the bundles are on one machine, for processes that exchange weights through its shared memory.

    Raises:
        ValueError: they are not.
    """
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    table = placement_group_table(strategies[0].placement_group)["bundles_to_node_id"]
    machines = sorted({hosts[table[strategy.placement_group_bundle_index]] for strategy in strategies})
    if len(machines) > 1:
        raise ValueError(
            f"topology: weights pass through /dev/shm, which {', '.join(machines)} do not share; choose "
            "topology.weight_transfer=ipc or nccl, and algorithm.kl.ref_sync_steps=0"
        )


def node_by_node(nodes: dict[int, str]) -> list[int]:
    """Bundle indexes grouped by node; nodes in the order of their first bundle."""
    order = list(dict.fromkeys(nodes[bundle] for bundle in sorted(nodes)))
    return sorted(nodes, key=lambda bundle: (order.index(nodes[bundle]), bundle))


def _strategy(group: PlacementGroup, bundle: int) -> PlacementGroupSchedulingStrategy:
    # An engine of several GPUs starts its own Ray workers, which belong to the group too.
    return PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=bundle, placement_group_capture_child_tasks=True
    )


def bundle_indexes(strategies: Sequence[Any]) -> str:
    """The bundles of these strategies as vLLM's Ray executor reads them, "0,1"."""
    return ",".join(str(strategy.placement_group_bundle_index) for strategy in strategies)


def free_address(strategy: Any, local: bool) -> str:
    """A free "host:port" on the node of a bundle, where processes can meet; on loopback if all are on one machine.

    Raises:
        TimeoutError: the node did not answer.
    """
    if local:
        return _free_address("127.0.0.1")
    task = ray.remote(num_cpus=0, scheduling_strategy=strategy)(_free_address)
    return ray.get(task.remote(), timeout=ADDRESS_SECONDS)


def _free_address(host: str | None = None) -> str:
    with socket.socket() as probe:
        probe.bind((host or ray.util.get_node_ip_address(), 0))
        return "{}:{}".format(*probe.getsockname())

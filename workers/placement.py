"""Places for the run's processes, reserved by a Ray placement group."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

ADDRESS_SECONDS = 120.0
LOOK_SECONDS = 3.0
ROLES = 3  # actor, reference and rollout may share a place; each takes one CPU of it


def reserve(
    places: int, gpus: bool, seconds: float, unchanged: Callable[[], bool]
) -> list[PlacementGroupSchedulingStrategy] | None:
    """The places in an order in which those of a node are next to each other, so that the tensor-parallel
    ranks of an engine, which take places in a row, share a node. None as soon as the cluster is not `unchanged`
    while they are waited for: Ray may learn late that a node is gone.

    Raises:
        TimeoutError: the cluster did not have them free within `seconds`.
    """
    bundle = {"CPU": float(ROLES)} | ({"GPU": 1.0} if gpus else {})
    group = placement_group([bundle] * places, strategy="PACK")
    started = time.monotonic()
    while not group.wait(min(LOOK_SECONDS, seconds)):
        if not unchanged():
            remove_placement_group(group)
            return None
        if time.monotonic() - started > seconds:
            raise TimeoutError(
                f"topology: Ray could not give {places} places of {bundle} within {seconds:.0f} s; it has "
                f"{ray.available_resources()} free of {ray.cluster_resources()}; ask for less, or raise "
                "topology.timeout_s"
            )
    return [_strategy(group, place) for place in node_by_node(placement_group_table(group)["bundles_to_node_id"])]


def node_by_node(nodes: dict[int, str]) -> list[int]:
    """The bundles in the order of their nodes; nodes in the order of their first bundle."""
    order = list(dict.fromkeys(nodes[bundle] for bundle in sorted(nodes)))
    return sorted(nodes, key=lambda bundle: (order.index(nodes[bundle]), bundle))


def _strategy(group: PlacementGroup, bundle: int) -> PlacementGroupSchedulingStrategy:
    # An engine of several GPUs starts its own Ray workers, which belong to the group too.
    return PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=bundle, placement_group_capture_child_tasks=True
    )


def bundles(places: Sequence[Any]) -> str:
    """The bundles of these places as vLLM's Ray executor reads them."""
    return ",".join(str(place.placement_group_bundle_index) for place in places)


def address_at(place: Any, local: bool) -> str:
    """ "host:port" of that place's node, where processes can meet; on loopback where all are on one machine.

    Raises:
        TimeoutError: the node gave no answer.
    """
    host = "127.0.0.1" if local else None
    task = ray.remote(num_cpus=0, scheduling_strategy=place)(_free_address)
    return ray.get(task.remote(host), timeout=ADDRESS_SECONDS)


def _free_address(host: str | None) -> str:
    with socket.socket() as one:
        one.bind((host or ray.util.get_node_ip_address(), 0))
        return "{}:{}".format(*one.getsockname())

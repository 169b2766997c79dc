"""Bundles on a Ray cluster of several nodes, all on this machine, with simulated GPUs."""

import os

import pytest
import ray
from ray.cluster_utils import Cluster

from workers.placement import free_address, reserve_bundles
from workers.session import shielded_from_sigterm


@pytest.fixture(scope="module")
def two_nodes():
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with shielded_from_sigterm():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 6, "num_gpus": 2})
        cluster.add_node(num_cpus=6, num_gpus=2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class NodeProbe:
    def where(self) -> tuple[str, list[int]]:
        return ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()


def test_roles_of_a_bundle_share_its_gpu_and_adjacent_bundles_share_a_node(two_nodes):
    bundles = reserve_bundles(4, gpus=True, timeout_s=60, unchanged=lambda: True)
    worker = ray.remote(NodeProbe)
    roles = [
        [
            ray.remote(NodeProbe).options(num_cpus=1, num_gpus=share, scheduling_strategy=bundle).remote()
            for bundle in bundles
        ]
        for share in (0.4, 0.45, 0.15)  # of its GPU
    ]
    found = [ray.get([worker.where.remote() for worker in role]) for role in roles]
    assert found[0] == found[1] == found[2]
    nodes = [node for node, _ in found[0]]
    assert len(set(nodes)) == 2
    for first in range(0, 4, 2):  # engines of two GPUs
        assert nodes[first] == nodes[first + 1]
    for node in set(nodes):
        assert sorted(gpus[0] for other, gpus in found[0] if other == node) == [0, 1]
    host, _, port = free_address(bundles[0], local=True).partition(":")
    assert host == "127.0.0.1" and int(port) > 1024
    for worker in [worker for role in roles for worker in role]:
        ray.kill(worker)
    ray.util.remove_placement_group(bundles[0].placement_group)


def test_waiting_ends_when_the_cluster_changes(two_nodes):
    assert reserve_bundles(5, gpus=True, timeout_s=60, unchanged=lambda: False) is None


def test_bundles_that_are_never_free_are_an_error_with_the_free_resources(two_nodes):
    with pytest.raises(TimeoutError, match=r"could not reserve 5 bundles of .* within 1 s; .*'GPU': 4"):
        reserve_bundles(5, gpus=True, timeout_s=1, unchanged=lambda: True)

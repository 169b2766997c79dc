import dataclasses
from pathlib import Path

import pytest
import torch

from conf.workers import TopologyConfig
from workers.weights import Transfer, fetch, publish, shared_folder


def tensors(scale=1.0):
    return {"a": scale * torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def test_fetch_returns_what_was_published(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=3)
    assert weights.version == 3
    for name, tensor in fetch(weights):
        assert torch.equal(tensor, tensors()[name]) and tensor.dtype == tensors()[name].dtype


def test_only_the_newest_version_is_kept(tmp_path):
    publish(tensors().items(), tmp_path, version=1)
    newest = publish(tensors(2.0).items(), tmp_path, version=2)
    assert list(tmp_path.iterdir()) == [Path(newest.path)]


def test_without_keep_only_the_checksum_is_computed(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1, keep=False)
    assert weights.path is None and not list(tmp_path.iterdir())
    assert weights.sha256 == publish(tensors().items(), tmp_path, version=1).sha256


def test_ranks_other_than_the_first_only_iterate(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1, is_first=False)
    assert weights.path == str(tmp_path / "weights_000001") and not list(tmp_path.iterdir())


def test_a_cpu_transfers_weights_through_shared_memory_only():
    topology = TopologyConfig(weight_transfer="nccl")
    assert Transfer.of(topology, "cpu") is Transfer.SHARED_MEMORY and Transfer.of(topology, "cuda") is Transfer.NCCL


def test_damaged_weights_are_rejected(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1)
    with pytest.raises(ValueError, match="version 1 is damaged"):
        fetch(dataclasses.replace(weights, sha256="0" * 64))


def test_the_checksum_covers_values_names_shapes_and_types():
    def checksum(tensors):
        return publish(tensors.items(), Path("unused"), version=1, keep=False).sha256

    base = checksum({"a": torch.zeros(2, 3)})
    assert base == checksum({"a": torch.zeros(2, 3)})
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).int()},
        {"a": torch.ones(2, 3)},
    ]
    assert len({checksum(other) for other in others} | {base}) == 5


def test_runs_do_not_share_a_folder(tmp_path):
    assert shared_folder(Path("one")) != shared_folder(Path("other"))
    assert shared_folder(Path("one")) != shared_folder(tmp_path / "one")

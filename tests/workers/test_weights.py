from pathlib import Path

import pytest
import torch

from conf.workers import TopologyConfig
from run.files import DamagedFile
from workers.checksum import checksum, combine
from workers.weights import Transfer, fetch, publish, read


def tensors(scale=1.0):
    return {"a": scale * torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


def test_fetch_returns_what_was_published(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=3)
    assert weights.version == 3
    found = fetch(weights)
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert torch.equal(tensor, found[name]) and tensor.dtype == found[name].dtype


def test_only_the_newest_version_is_kept(tmp_path):
    publish(tensors().items(), tmp_path, version=1)
    newest = publish(tensors(2.0).items(), tmp_path, version=2)
    assert list(tmp_path.iterdir()) == [Path(newest.path)]


def test_ranks_other_than_the_first_only_iterate(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1, is_first=False)
    assert weights.path == str(tmp_path / "weights_000001") and not list(tmp_path.iterdir())


def test_a_cpu_transfers_weights_through_shared_memory_only():
    topology = TopologyConfig(weight_transfer="nccl")
    assert Transfer.of(topology, "cpu") is Transfer.SHARED_MEMORY and Transfer.of(topology, "cuda") is Transfer.NCCL


def test_damaged_weights_are_rejected(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1)
    (file,) = Path(weights.path).iterdir()
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(DamagedFile, match="weights version 1 is damaged: its checksum is"):
        fetch(weights)


def test_a_missing_file_is_noticed(tmp_path):
    weights = publish(tensors().items(), tmp_path, version=1)
    for file in Path(weights.path).iterdir():
        file.unlink()
    with pytest.raises(DamagedFile, match="its checksum is missing"):
        fetch(weights)


def test_the_checksum_is_that_of_the_tensors_in_any_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.weights.BUCKET_BYTES", 8)
    weights = publish(tensors().items(), tmp_path, version=1)
    assert len(list(Path(weights.path).iterdir())) == 2
    assert weights.checksum == combine([checksum(name, tensor) for name, tensor in tensors().items()])
    assert dict(read(weights.path)).keys() == tensors().keys()

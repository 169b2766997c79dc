"""vLLM's IPC transfer with a buffer in host memory in place of the shared one."""

from types import SimpleNamespace

import pytest
import torch

from workers.checksum import combine

pytest.importorskip("vllm")


class Model(torch.nn.Module):
    """Keeps what is loaded, and reads nothing but the tensors that it is given."""

    def load_weights(self, weights):
        self.loaded = getattr(self, "loaded", {}) | dict(weights)


@pytest.fixture
def engine(monkeypatch):
    from vllm.distributed.weight_transfer import ipc_engine
    from vllm.distributed.weight_transfer.packed_tensor import unpack_tensor

    from workers.transfer_engines import IpcEngine

    def consumer(ipc_handle, names, shapes, dtype_names, tensor_sizes, **_):
        dtypes = [getattr(torch, name) for name in dtype_names]
        return unpack_tensor(ipc_handle["buffer"], names, shapes, dtypes, tensor_sizes)

    monkeypatch.setattr(ipc_engine, "packed_ipc_consumer", consumer)
    vllm_config = SimpleNamespace(parallel_config=None, model_config=None)
    made = IpcEngine(None, vllm_config, torch.device("cpu"), Model())
    made.packed = True
    return made


def send(engine, tensors, damage=None):
    """Each tensor as an update of its own, as chunks arrive."""
    for name, tensor in tensors.items():
        buffer = tensor.clone().view(-1).view(torch.uint8)
        if damage == name:
            buffer[0] ^= 1
        update = {"names": [name], "dtype_names": [str(tensor.dtype).split(".")[1]], "shapes": [list(tensor.shape)]}
        handles = {"ipc_handles": {"buffer": buffer}, "tensor_sizes": [tensor.nbytes]}
        engine.receive_weights(engine.parse_update_info(update | handles))


def weights():
    return {"a": torch.randn(3, 2), "b": torch.randn(5).to(torch.bfloat16)}


class Recorder:
    """The remote method of a sampler; it records its calls."""

    def __init__(self):
        self.offsets = []
        self.init_weight_transfer_engine = self

    def remote(self, request):
        self.offsets.append(request.init_info.get("rank_offset"))


def test_every_replica_has_ranks_of_its_own(monkeypatch):
    """vLLM's client sends all engines the same offset, as if they were one deployment that numbers its processes."""
    from workers import direct_transfer

    monkeypatch.setattr(direct_transfer.ray, "get", lambda refs: refs)
    samplers = [Recorder() for _ in range(3)]
    client = direct_transfer.ReplicaClient(samplers, processes=2)
    client.init_weight_transfer_engine({"rank_offset": 1, "world_size": 7})
    client.init_weight_transfer_engine({"trainer_rank": 0})  # IPC has no ranks
    assert [sampler.offsets for sampler in samplers] == [[1, None], [3, None], [5, None]]


def sent_checksum(tensors):
    from workers.direct_transfer import PolicySource

    source = PolicySource(lambda: iter(tensors.items()), is_first=True)
    assert dict(source).keys() == tensors.keys()
    return combine(source.checksums)


def received_checksum(engine):
    from workers.transfer_engines import VllmExtension

    worker = VllmExtension()
    worker.weight_transfer_engine = engine
    return worker.received_checksum()


def test_the_engine_counts_what_it_hands_to_the_model(engine):
    tensors = weights()
    send(engine, tensors)
    assert received_checksum(engine) == sent_checksum(tensors)
    assert all(torch.equal(engine.model.loaded[name], tensor) for name, tensor in tensors.items())


def test_damaged_and_missing_tensors_show_in_the_checksum(engine):
    tensors = weights()
    send(engine, tensors, damage="b")
    assert received_checksum(engine) != sent_checksum(tensors)
    engine.checksums.clear()
    send(engine, {"a": tensors["a"]})
    assert received_checksum(engine) != sent_checksum(tensors)


def test_an_update_counts_from_its_own_start(engine):
    send(engine, weights())
    engine.start_weight_update()
    assert received_checksum(engine) == ""


def test_only_the_first_rank_counts_what_it_sends():
    from workers.direct_transfer import PolicySource

    source = PolicySource(lambda: iter(weights().items()), is_first=False)
    assert list(dict(source)) == ["a", "b"] and source.checksums == []


def test_vllm_creates_these_engines():
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    from workers.transfer_engines import ENGINES

    for transfer, engine in ENGINES.items():
        assert WeightTransferEngineFactory._registry[str(transfer)]() is engine

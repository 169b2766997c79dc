"""The receiving side of a weight transfer, in vLLM's processes.

vLLM includes engines for GPUs (NCCL, IPC) and lets others register. Here each of them also computes the checksum of
what it hands to the model, and `ShmEngine` reads weights from shared memory, which makes the same in-place update
possible on a CPU.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferEngine
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from workers.checksum import combine, counted
from workers.weights import Transfer, read


class Counting:
    """A base of engines: it keeps the checksums of the tensors that reach the model in an update."""

    model: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.checksums: list[torch.Tensor] = []
        load_weights = self.model.load_weights

        def load_counted(weights: Iterable[tuple[str, torch.Tensor]]) -> Any:
            return load_weights(counted(weights, self.checksums))

        self.model.load_weights = load_counted

    def start_weight_update(self) -> None:
        self.checksums.clear()
        super().start_weight_update()  # type: ignore[misc]


class IpcEngine(Counting, IPCWeightTransferEngine):
    """vLLM's transfer on one device."""


class NcclEngine(Counting, NCCLWeightTransferEngine):
    """vLLM's transfer between devices."""


@dataclass
class ShmInitInfo(WeightTransferInitInfo):
    """Empty: shared memory needs no handshake."""


@dataclass
class ShmUpdateInfo(WeightTransferUpdateInfo):
    path: str


class ShmEngine(Counting, WeightTransferEngine[ShmInitInfo, ShmUpdateInfo]):
    """The transfer of a version that `publish` wrote to shared memory."""

    init_info_cls = ShmInitInfo
    update_info_cls = ShmUpdateInfo

    def init_transfer_engine(self, init_info: ShmInitInfo) -> None:
        pass

    def start_weight_update(self) -> None:
        self.checksums.clear()
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict) -> None:
        # The base class would also synchronize an accelerator, which a CPU does not have.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: ShmUpdateInfo) -> None:
        self.model.load_weights(read(update_info.path))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        repack_tied_output(self.model)

    def shutdown(self) -> None:
        pass


def repack_tied_output(model: torch.nn.Module) -> None:
    """On the CPU vLLM keeps a packed copy of each linear layer. The layer-wise reload packs the layers that it loads,
    but an output layer that is tied to the embedding is loaded as the embedding, and its copy would stay stale."""
    output = getattr(model, "lm_head", None)
    embedding = getattr(getattr(model, "model", None), "embed_tokens", None)
    tied = output is not None and embedding is not None and output.weight.data_ptr() == embedding.weight.data_ptr()
    if output is not None and tied and hasattr(output, "cpu_linear"):
        output.quant_method.process_weights_after_loading(output)


class VllmExtension:
    """Methods of vLLM's worker processes; as the `worker_extension_cls` it makes each of them import this module."""

    weight_transfer_engine: Counting

    def received_checksum(self) -> str:
        """The checksum of the tensors that the last update handed to the model."""
        return combine(self.weight_transfer_engine.checksums)


ENGINES = {Transfer.SHARED_MEMORY: ShmEngine, Transfer.IPC: IpcEngine, Transfer.NCCL: NcclEngine}
for _name, _engine in ENGINES.items():  # two of them replace vLLM's own, which `register_engine` would refuse
    WeightTransferEngineFactory._registry[str(_name)] = lambda engine=_engine: engine

"""A weight-transfer engine for vLLM that reads weights from shared memory.

vLLM includes such engines for GPUs (NCCL, IPC) and lets others register; this one makes the same in-place update
possible on a CPU.
"""

from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from workers.weights import Transfer, Weights, fetch


@dataclass
class ShmInitInfo(WeightTransferInitInfo):
    """Empty: shared memory needs no handshake."""


@dataclass
class ShmUpdateInfo(WeightTransferUpdateInfo):
    version: int
    sha256: str
    path: str


class ShmEngine(WeightTransferEngine[ShmInitInfo, ShmUpdateInfo]):
    init_info_cls = ShmInitInfo
    update_info_cls = ShmUpdateInfo

    def init_transfer_engine(self, init_info: ShmInitInfo) -> None:
        pass

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict) -> None:
        # The base class would also synchronize an accelerator, which a CPU does not have.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: ShmUpdateInfo) -> None:
        weights = Weights(update_info.version, update_info.sha256, path=update_info.path)
        self.model.load_weights(fetch(weights))

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
    """The `worker_extension_cls` of vLLM, which makes each process of an engine import this module."""


if str(Transfer.SHARED_MEMORY) not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine(str(Transfer.SHARED_MEMORY), ShmEngine)

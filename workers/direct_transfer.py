"""Weights from GPU to GPU by vLLM's own transfer: NCCL between devices, IPC on one device.

The actor's side of it. All its ranks walk through the weights together, which gathers them one by one; the first
sends them. The rollouts' side is vLLM's engine of the same name. Needs GPUs: nothing here has run yet.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from vllm.distributed.weight_transfer import RayVLLMWeightSyncClient, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import ParamMeta, TrainerWeightTransferEngine, WeightSource
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

Walk = Callable[[], Iterator[tuple[str, torch.Tensor]]]


class PolicySource(WeightSource):
    """Weights as vLLM asks for them: what comes, and then each, in one order."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.known = [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in walk()]

    def metadata(self) -> list[ParamMeta]:
        return self.known

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.walk()


def make_sender(
    backend: str, rank: int, address: str, handles: Sequence[Any], receivers: int, walk: Walk
) -> TrainerWeightTransferEngine:
    """To be made by every rank of the actor at once, with the rollouts idle.

    address    "host:port" where the first rank listens for the rollouts (NCCL alone)
    handles    the rollout workers; receivers: their processes, tensor-parallel ranks counted each
    """
    source, client = PolicySource(walk), RayVLLMWeightSyncClient(list(handles))
    if backend == "ipc":
        return WeightTransferTrainerFactory.trainer_init(
            IPCTrainerInitInfo(rank=rank, packed=True), client=client, source=source
        )
    host, _, port = address.rpartition(":")
    info = NCCLTrainerInitInfo(master_address=host, master_port=int(port), world_size=1 + receivers, rank=rank)
    return WeightTransferTrainerFactory.trainer_init(info, client=client, source=source)

"""Sending weights from GPU to GPU by vLLM's own transfer: NCCL between devices, IPC on one device.

This is the actor's side. All ranks iterate over the weights together, which gathers each tensor, and the first rank
sends them. The samplers' side is vLLM's engine of the same name. IPC has run on an H200; NCCL has never run.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch
from vllm.distributed.weight_transfer import RayVLLMWeightSyncClient, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerWeightTransferEngine,
    WeightSource,
    WeightTransferInitRequest,
)
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from workers.checksum import counted
from workers.weights import BUCKET_BYTES, Transfer

IterWeights = Callable[[], Iterator[tuple[str, torch.Tensor]]]


class PolicySource(WeightSource):
    """Weights in the form that vLLM asks for: their metadata, then each tensor in the same order.

    checksums  of the tensors that were sent last; empty except on the first rank
    """

    def __init__(self, iter_weights: IterWeights, is_first: bool) -> None:
        self.iter_weights, self.is_first = iter_weights, is_first
        self.checksums: list[torch.Tensor] = []
        self.known = [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in iter_weights()]

    def metadata(self) -> list[ParamMeta]:
        return self.known

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.checksums = []
        return counted(self.iter_weights(), self.checksums) if self.is_first else self.iter_weights()


class ReplicaClient(RayVLLMWeightSyncClient):
    """vLLM's client for several engines that do not know of each other: with NCCL, each gets ranks of its own.

    processes  of one engine, its tensor-parallel ranks
    """

    def __init__(self, samplers: Sequence[Any], processes: int) -> None:
        super().__init__(list(samplers))
        self.processes = processes

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        calls = []
        for index, handle in enumerate(self.handles):
            own = dict(init_info)
            if "rank_offset" in own:
                own["rank_offset"] += index * self.processes
            calls.append(handle.init_weight_transfer_engine.remote(WeightTransferInitRequest(init_info=own)))
        ray.get(calls)


def make_sender(
    transfer: Transfer, rank: int, address: str, samplers: Sequence[Any], receivers: int, iter_weights: IterWeights
) -> TrainerWeightTransferEngine:
    """Every rank of the actor must call this at the same time, while the samplers are idle.

    address    "host:port" where the first rank listens for the samplers (NCCL only)
    samplers   Ray actor handles
    receivers  the number of their processes, including tensor-parallel ranks
    """
    source = PolicySource(iter_weights, is_first=rank == 0)
    client = ReplicaClient(samplers, receivers // len(samplers))
    if transfer is Transfer.IPC:
        largest = max(math.prod(known.shape) * known.dtype.itemsize for known in source.metadata())
        packed = IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=max(largest, BUCKET_BYTES))
        return WeightTransferTrainerFactory.trainer_init(packed, client=client, source=source)
    host, _, port = address.rpartition(":")
    info = NCCLTrainerInitInfo(master_address=host, master_port=int(port), world_size=1 + receivers, rank=rank)
    return WeightTransferTrainerFactory.trainer_init(info, client=client, source=source)

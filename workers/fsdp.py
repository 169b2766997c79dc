"""A model sharded over several processes by FSDP2. A single process holds the whole model without FSDP."""

import os
import socket
from datetime import timedelta
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from grpo.grpo import completion_logprobs
from workers.rank_group import RankInfo


def join_ranks(info: RankInfo, timeout_s: float) -> None:
    """Meet the other ranks of the model at `info.address`, where the first rank listens. A collective that takes
    longer than `timeout_s` fails."""
    if info.size == 1:
        return
    host, _, port = info.address.rpartition(":")
    if host.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Left to itself, the store would listen on all interfaces.
    listener = socket.create_server((host, int(port))).detach() if info.is_first else None
    timeout = timedelta(seconds=timeout_s)
    store = dist.TCPStore(host, int(port), info.size, info.is_first, timeout, master_listen_fd=listener)
    backend = "cpu:gloo,cuda:nccl" if info.device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=info.rank, world_size=info.size, timeout=timeout)


def shard_model(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move the model to its device, sharded if there are several ranks, with `completion_logprobs` as a method.

    FSDP2 gathers each layer in `dtype` when it is needed and averages the gradients of the ranks in float32.
    """
    model.completion_logprobs = MethodType(completion_logprobs, model)
    if not dist.is_initialized():
        return model if device.type == "cpu" else model.to(device)  # it was loaded to the CPU
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mixed = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    settings: dict[str, Any] = {
        "mesh": dist.init_device_mesh(device.type, (dist.get_world_size(),)),
        "mp_policy": mixed if dtype != torch.float32 else MixedPrecisionPolicy(),
    }
    for layer in model.get_decoder().layers:
        fully_shard(layer, **settings)
    fully_shard(model, **settings)
    register_fsdp_forward_method(model, "completion_logprobs")
    return model


def reshard(model: Any) -> None:
    """Free the gathered parameters. Without a backward pass FSDP would keep the outer layers gathered."""
    if dist.is_initialized():
        model.reshard()


def full_tensor(tensor: Tensor) -> Tensor:
    """The full value of a sharded tensor; all ranks must call this."""
    gather = getattr(tensor, "full_tensor", None)
    return gather() if gather is not None else tensor


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a CPU tensor over all ranks, on every rank."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def sum_metrics(values: dict[str, float]) -> dict[str, float]:
    """Each value summed over all ranks, on every rank; all ranks must give the same names in the same order."""
    total = sum_over_ranks(torch.tensor(list(values.values()), dtype=torch.float64))
    return dict(zip(values, total.tolist(), strict=True))

"""The processes that hold one model together: which of them this is, and the model in parts (FSDP2)."""

import os
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from grpo.logprobs import completion_logprobs


@dataclass(frozen=True)
class Ranks:
    """This process is number `rank` of the `size` that hold a model."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Each value added up over the ranks, which all get the sums; all must name the same in one order."""
        if self.size == 1:
            return values
        together = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(together)
        return dict(zip(values, together.tolist(), strict=True))


ALONE = Ranks()


def join(address: str, rank: int, size: int, device: str, timeout_s: float) -> Ranks:
    """Meet the other ranks at "host:port", where rank 0 listens; a collective that takes longer than `timeout_s`
    seconds is an error. A single rank meets nobody, and its model stays whole."""
    if size > 1:
        if address.startswith("127."):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        late = timedelta(seconds=timeout_s)
        dist.init_process_group(backend, init_method=f"tcp://{address}", rank=rank, world_size=size, timeout=late)
    return Ranks(rank, size)


def place(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The model on its device, whole or as this rank's part of it, with `completion_logprobs` as a method.

    In parts each layer is a unit that is gathered in `dtype` when it is needed; gradients are averaged over the
    ranks in float32.
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


def drop_gathered(model: Any) -> None:
    """Keep this rank's part alone. Without a backward pass FSDP would leave the outer layers gathered."""
    if dist.is_initialized():
        model.reshard()


def whole(tensor: Tensor) -> Tensor:
    """The full value of a parameter of which each rank has a part; all ranks must ask for it."""
    gather = getattr(tensor, "full_tensor", None)
    return gather() if gather is not None else tensor

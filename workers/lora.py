"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: the adapter trains, the base model is frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from conf.workers import LoraConfig
from workers.fsdp import full_tensor

ADAPTER = "default"


def add_adapter(model: torch.nn.Module, lora: LoraConfig) -> Any:
    """Wrap `model` in a peft model that adapts all linear layers except the output layer, in place. The adapter is
    float32 whatever the type of the base, and starts as zero (its second factor is 0)."""
    import peft  # takes 2 s to import, and bitsandbytes prints a warning

    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # every rank draws the whole adapter and keeps its shard
        adapter = peft.get_peft_model(model, config)
    for layer in adapted_layers(adapter):
        # Otherwise every input is cast to float32, like the adapter, and by autocast back to bfloat16.
        layer.cast_input_dtype_enabled = False
    return adapter


def adapted_layers(adapter: torch.nn.Module) -> list[Any]:
    """The layers that peft has wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in adapter.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def without_adapter(adapter: torch.nn.Module) -> Iterator[None]:
    """Compute with the base model alone. peft's `disable_adapter` also turns off the gradients of the adapter, while
    FSDP2 decides in its first forward pass, for good, in which type to reduce them."""
    layers = adapted_layers(adapter)
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def adapter_weights(adapter: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The full weights of an adapter on the CPU, with peft's names; all ranks must call this."""
    named = adapter.named_parameters()
    return {name: full_tensor(p.detach()).cpu() for name, p in named if ".lora_" in name}


def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Full parameters one by one, with their names before the adapter was added and the adapter merged in. The model
    itself does not change, since merging and unmerging in place would accumulate rounding errors in the base."""
    from peft.tuners.lora import Linear

    adapted = {f"{name}.base_layer.weight": m for name, m in model.named_modules() if isinstance(m, Linear)}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        value = full_tensor(parameter.detach())
        if name in adapted:
            module: Any = adapted[name]
            first, second = (
                full_tensor(each[ADAPTER].weight.detach()).float() for each in (module.lora_A, module.lora_B)
            )
            value = (value.float() + module.scaling[ADAPTER] * (second @ first)).to(parameter.dtype)
        yield name.replace(".base_layer.", "."), value

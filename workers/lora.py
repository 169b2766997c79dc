"""Low-rank adapters through peft: the adapter trains, the base below it stays."""

from collections.abc import Iterator
from typing import Any

import torch

from conf.schema import LoraConfig
from workers.ranks import whole

ADAPTER = "default"


def add_adapter(model: torch.nn.Module, lora: LoraConfig) -> Any:
    """A peft model over `model`, whose linear layers it replaces in place; the output layer is left out.
    The adapter is float32 whatever the base is, and starts as nothing (its second factor is 0)."""
    import peft  # two seconds, and a warning of bitsandbytes, that only its users should meet

    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # each rank draws the whole adapter and keeps its part: all must draw the same
        return peft.get_peft_model(model, config)


def merged_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of `model` by their names before the adapter came, with the adapter added in, one whole
    one at a time. The model itself is not touched: merging and unmerging in place would wear its base down by
    rounding."""
    from peft.tuners.lora import Linear

    adapted = {f"{name}.base_layer.weight": m for name, m in model.named_modules() if isinstance(m, Linear)}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        value = whole(parameter.detach())
        if name in adapted:
            module: Any = adapted[name]
            first, second = (whole(each[ADAPTER].weight.detach()).float() for each in (module.lora_A, module.lora_B))
            value = (value.float() + module.scaling[ADAPTER] * (second @ first)).to(parameter.dtype)
        yield name.replace(".base_layer.", "."), value

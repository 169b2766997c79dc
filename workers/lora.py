"""Low-rank adapters through peft: the adapter trains, the base below it stays."""

from typing import Any

import torch

from conf.schema import LoraConfig

ADAPTER = "default"


def add_adapter(model: torch.nn.Module, lora: LoraConfig) -> Any:
    """A peft model over `model`, whose linear layers it replaces in place; the output layer is left out.
    The adapter is float32 whatever the base is, and starts as nothing (its second factor is 0)."""
    import peft  # two seconds, and a warning of bitsandbytes, that only its users should meet

    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config)


def merged_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters of `model` by their names before the adapter came, with the adapter added in. The
    model itself is not touched: merging and unmerging in place would wear its base down by rounding."""
    from peft.tuners.lora import Linear

    deltas = {
        f"{name}.base_layer.weight": module.get_delta_weight(ADAPTER)
        for name, module in model.named_modules()
        if isinstance(module, Linear)
    }
    merged = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        value = parameter.detach()
        if name in deltas:
            value = (value.float() + deltas[name].detach().float()).to(parameter.dtype)
        merged[name.replace(".base_layer.", ".")] = value
    return merged

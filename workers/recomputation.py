"""Gradient checkpointing: the backward pass recomputes the activations of a layer from the layer's inputs."""

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_layers(model: torch.nn.Module) -> None:
    """Checkpoint each layer of a transformers model, in place. transformers itself does so in training mode only, in
    which the dropout of some models (GPT-2, OPT, Phi-2) would make the log-probabilities random.

    Raises:
        ValueError: transformers cannot checkpoint this kind of model.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"model.gradient_checkpointing=true is not supported for {type(model).__name__}; set it to false"
        )
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

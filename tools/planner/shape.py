"""What of a model decides its memory and speed, read from its config alone."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.schema import ModelConfig
from workers.models import empty_model, load_config

# The configs of models whose planning should need no network, by their Hub names.
SHIPPED = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Shape:
    """parameters        tied ones counted once
    matrix_parameters those that a token is multiplied with: all but an embedding that is only looked up
    layer_parameters  of one layer
    outer_parameters  outside the layers
    attention_width   query heads times their size
    kv_width          key heads times their size
    """

    parameters: int
    matrix_parameters: int
    layer_parameters: int
    outer_parameters: int
    layers: int
    hidden: int
    intermediate: int
    attention_width: int
    kv_width: int
    vocabulary: int


def config_of(model: ModelConfig) -> Any:
    """The transformers config of a model: from its folder, from tools/planner/configs, or from the Hub.

    Raises:
        ValueError: there is no such folder, or the Hub can't give it now.
    """
    shipped = SHIPPED / model.path / "config.json"
    return load_config(str(shipped.parent) if model.source == model.path and shipped.is_file() else model.source)


def shape_of(config: Any) -> Shape:
    """Counts the parameters of the model that transformers makes of this config."""
    model = empty_model(config, "float32")
    total = sum(parameter.numel() for parameter in model.parameters())
    layers = model.get_decoder().layers
    layer = sum(parameter.numel() for parameter in layers[0].parameters())
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        parameters=total,
        matrix_parameters=total if embedding is output else total - embedding.numel(),
        layer_parameters=layer,
        outer_parameters=total - layer * len(layers),
        layers=len(layers),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        attention_width=config.num_attention_heads * head,
        kv_width=config.num_key_value_heads * head,
        vocabulary=config.vocab_size,
    )


def with_layers(config: Any, count: int) -> Any:
    """The same model with its first `count` layers."""
    fewer = copy.deepcopy(config)
    fewer.num_hidden_layers = count
    if getattr(fewer, "layer_types", None) is not None:
        fewer.layer_types = fewer.layer_types[:count]
    return fewer

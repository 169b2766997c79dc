"""The numbers of a model's architecture that decide its memory and speed, from its config alone."""

import copy
from dataclasses import dataclass
from pathlib import Path

from transformers import PretrainedConfig

from conf.workers import ModelConfig
from workers.models import empty_model, load_config

# Model configs in this repository, by Hub name, so that planning needs no network.
SHIPPED = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Shape:
    """parameters        of the whole model; tied weights count once
    matrix_parameters weights of matrix multiplications: all but an embedding that is only looked up
    layer_parameters  of one layer
    outer_parameters  outside the layers
    attention_width   number of query heads times head size
    kv_width          number of key heads times head size
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


def config_of(model: ModelConfig) -> PretrainedConfig:
    """The transformers config of a model: from its folder, from tools/planner/configs, or from the Hub.

    Raises:
        ValueError: there is no such folder, and the Hub does not provide the config.
    """
    shipped = SHIPPED / model.path / "config.json"
    return load_config(str(shipped.parent) if model.source == model.path and shipped.is_file() else model.source)


def shape_of(config: PretrainedConfig) -> Shape:
    """Count the parameters of the model that transformers builds from this config."""
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


def with_layers(config: PretrainedConfig, count: int) -> PretrainedConfig:
    """The same model with its first `count` layers."""
    fewer = copy.deepcopy(config)
    fewer.num_hidden_layers = count
    if getattr(fewer, "layer_types", None) is not None:
        fewer.layer_types = fewer.layer_types[:count]
    return fewer

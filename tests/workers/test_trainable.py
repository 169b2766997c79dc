"""Models whose log-probabilities the actor does not compute as they are defined are refused, and no others."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from workers.actor import Actor
from workers.models import load_model, model_settings
from workers.trainable import check_logprobs, check_trainable


@pytest.mark.parametrize(
    ("settings", "odd"),
    [
        ({"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}, "sliding_window=512"),
        ({"sliding_window": 512}, "sliding_window=512"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "layer_types=linear_attention"),
        ({"text_config": {"layer_types": ["linear_attention"]}}, "layer_types=linear_attention"),
        ({"text_config": {"sliding_window": 512}}, "sliding_window=512"),
        ({"final_logit_softcapping": 30.0, "logits_scaling": 8}, "final_logit_softcapping=30.0, logits_scaling=8"),
    ],
)
def test_a_model_that_the_actor_would_compute_otherwise_is_refused(tmp_path, settings, odd):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **settings}))
    with pytest.raises(ValueError, match=f"cannot be trained: its config.json has {odd}, but the actor supports only"):
        check_trainable(ModelConfig("m", str(tmp_path)), 1280)


@pytest.mark.parametrize(
    "settings",
    [
        {"sliding_window": 32768, "use_sliding_window": False, "max_window_layers": 21},
        {"sliding_window": None},
        {"sliding_window": 65536},
        {"sliding_window": 512, "layer_types": ["full_attention"], "final_logit_softcapping": None, "logit_scale": 1.0},
    ],
)
def test_a_model_with_full_attention_is_trained(tmp_path, settings):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **settings}))
    check_trainable(ModelConfig("m", str(tmp_path)), 1280)


def test_a_sliding_window_is_compared_with_the_longest_sequence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "sliding_window": 512}))
    check_trainable(ModelConfig("m", str(tmp_path)), 512)
    with pytest.raises(ValueError, match="sliding_window=512"):
        check_trainable(ModelConfig("m", str(tmp_path)), 513)


SHIPPED = sorted((Path(__file__).parents[2] / "envs").glob("*/models/*"))
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES |= {"vocab_size": 64, "intermediate_size": 48}
NO_TOKENS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}  # their defaults exceed the vocabulary
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts_per_tok": 2, "num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 16}
STATE = {"mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_chunk_size": 8}
JAMBA = {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1, "mamba_d_state": 8, "mamba_dt_rank": 4}
NEMOTRON_H = {"hybrid_override_pattern": "M*", "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8}


def small(architecture: str, dtype: str = "float32", **settings):
    """A small random model as the actor loads it. Its weights are large enough that each part matters."""
    config = CONFIG_MAPPING[architecture](**(SIZES | NO_TOKENS | settings))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, **model_settings(dtype, packed=True)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("llama", {}),
        ("llama", {"dtype": "bfloat16"}),
        ("qwen2", {}),
        ("qwen3", HEADS),
        ("qwen3_moe", HEADS | EXPERTS),
        ("phi3", {}),
        ("gemma3_text", HEADS),
        ("olmo2", {}),
        ("gpt2", {}),
    ],
)
def test_a_model_whose_packed_log_probabilities_are_its_own_passes_unchanged(architecture, settings):
    model = small(architecture, **settings)
    weights, generator = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    check_logprobs(model, "folder")
    assert torch.equal(torch.get_rng_state(), generator) and model.config._attn_implementation == "packed"
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("vocabulary", [2, 20, 21])
def test_a_vocabulary_may_be_smaller_than_the_check_has_tokens(vocabulary):
    check_logprobs(small("qwen2", vocab_size=vocabulary), "folder")


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_shipped_models_pass(folder):
    check_logprobs(load_model(folder, "float32", packed=True), str(folder))


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("mamba", {"state_size": 8}),
        ("falcon_h1", STATE | {"mamba_d_ssm": 64}),
        ("bamba", STATE | {"attn_layer_indices": [1]}),
        ("jamba", JAMBA | {"use_mamba_kernels": False}),
        ("nemotron_h", NEMOTRON_H | HEADS | {"n_groups": 1, "chunk_size": 8}),
        ("bloom", {"n_head": 4, "n_layer": 2}),
        ("codegen", {"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary_dim": 4}),
        ("gpt_oss", HEADS | EXPERTS),  # attention sinks
        ("cohere", {}),  # scaled logits
    ],
)
def test_a_model_that_the_actor_would_compute_otherwise_is_refused_by_name(architecture, settings):
    model = small(architecture, **settings)
    with pytest.raises(ValueError, match=f"model.path=folder cannot be trained: .* with {type(model).__name__} they "):
        check_logprobs(model, "folder")


@pytest.mark.parametrize("architecture", ["nemotron", "stablelm"])
def test_a_model_that_cannot_compute_packed_rows_is_refused_in_one_line(architecture):
    model = small(architecture)
    with pytest.raises(ValueError, match=f"cannot be computed with {type(model).__name__} \\(TypeError: ") as refused:
        check_logprobs(model, "folder")
    assert "\n" not in str(refused.value)


def test_the_actor_checks_the_model_that_it_loads(tmp_path):
    small("bloom", n_head=4, n_layer=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="with BloomForCausalLM they differ by"):
        Actor(ModelConfig("m", str(tmp_path)), AlgorithmConfig(), TopologyConfig(), num_steps=1)

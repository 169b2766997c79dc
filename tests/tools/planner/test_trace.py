import dataclasses

import pytest
import torch
from transformers import Qwen2Config

from conf.algorithms import AlgorithmConfig
from conf.workers import LoraConfig, ModelConfig
from tools.planner.shape import shape_of
from tools.planner.trace import StorageTracker, full_batch, trace_update

# Embedding 32 x 8; in the layer: q 8x8 + 8, k and v 8x4 + 4 each, o 8x8, three of 8x16, two norms of 8; a last norm.
PARAMETERS = 32 * 8 + (72 + 2 * 36 + 64 + 3 * 128 + 16) + 8


@pytest.fixture
def config() -> Qwen2Config:
    return Qwen2Config(
        vocab_size=32,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        tie_word_embeddings=True,
    )


def settings(**changed) -> ModelConfig:
    plain = ModelConfig("small", "envs/countdown/models/tiny", max_prompt_tokens=4, max_completion_tokens=12)
    return dataclasses.replace(plain, **changed)


def traced(config, model, rows=2, foreach=True):
    return trace_update(config, model, AlgorithmConfig(micro_batch_tokens=16 * rows), full_batch(model, rows), foreach)


def test_weights_gradients_and_state_by_hand(config):
    assert shape_of(config).parameters == PARAMETERS
    memory = traced(config, settings())
    assert memory.weights == memory.gradients == 4 * PARAMETERS
    assert memory.state == 8 * PARAMETERS


def test_a_foreach_step_needs_a_temporary_of_the_size_of_the_weights(config):
    # The temporary is the square root of the second moment, of all tensors or of the largest one.
    all_at_once, one_by_one = traced(config, settings()), traced(config, settings(), foreach=False)
    assert all_at_once.step == pytest.approx(4 * PARAMETERS, rel=0.05)
    assert 4 * 32 * 8 <= one_by_one.step <= 3 * 4 * 32 * 8


def test_autocast_copies_the_matrices_in_bfloat16(config):
    matrices = 32 * 8 + 64 + 2 * 32 + 64 + 3 * 128
    biases = 8 + 4 + 4
    assert traced(config, settings()).passes.copies == 0
    assert traced(config, settings(dtype="bfloat16")).forward.copies == 2 * (matrices + biases)


def test_only_the_adapter_has_gradients_and_state(config):
    rank = 2
    # Two factors at each of q, k, v, o, gate, up and down: rank x (inputs + outputs).
    adapter = rank * ((8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 16))
    memory = traced(config, settings(dtype="bfloat16", lora=LoraConfig(rank)))
    assert memory.gradients == 4 * adapter and memory.state == 8 * adapter
    assert memory.weights == 2 * PARAMETERS + 4 * adapter


def test_frozen_weights_have_no_gradients(config):
    assert traced(config, settings(frozen=["embed_tokens"])).gradients == 4 * (PARAMETERS - 32 * 8)


def test_activations_grow_with_the_rows_and_shrink_with_checkpointing(config):
    config.num_hidden_layers = 4
    config.layer_types = config.layer_types * 4
    plain, checkpointed = settings(), settings(gradient_checkpointing=True)
    assert traced(config, plain, 64).passes.total > 1.9 * traced(config, plain, 32).passes.total
    assert traced(config, checkpointed, 64).passes.total < 0.6 * traced(config, plain, 64).passes.total


def test_a_storage_counts_once_until_it_is_freed():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        one = torch.empty(10)
    tracker = StorageTracker({})
    tracker.count(one)
    with tracker:
        view = one.view(2, 5)  # the same storage
        other = view + 1  # 40 bytes more
        del other
        assert tracker.current == 40
    assert tracker.read_peaks().forward.total == 80

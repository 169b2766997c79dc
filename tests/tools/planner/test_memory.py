import dataclasses

import pytest

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig
from tools.planner.memory import (
    ActorTable,
    actor_table,
    kv_bytes_per_token,
    model_bytes,
    rollout_memory,
    sharded,
    with_8bit_optimizer,
)
from tools.planner.shape import Shape, config_of, shape_of, with_layers
from tools.planner.trace import Peak, UpdateMemory, full_batch, trace_update

SHAPE = Shape(
    parameters=100,
    matrix_parameters=100,
    layer_parameters=20,
    outer_parameters=40,
    layers=3,
    hidden=8,
    intermediate=16,
    attention_width=8,
    kv_width=4,
    vocabulary=32,
)
MEMORY = UpdateMemory(400, 400, 800, Peak(100, 60), Peak(0, 120), 400)


@pytest.mark.parametrize(("name", "billions"), [("0.5B", 0.494), ("1.5B", 1.544), ("3B", 3.086)])
def test_the_shipped_configs_have_the_parameters_of_the_models(name, billions):
    assert shape_of(config_of(ModelConfig("qwen", f"Qwen/Qwen2.5-{name}"))).parameters == pytest.approx(
        billions * 1e9, rel=3e-4
    )


def test_bytes_of_keys_and_values_by_hand():
    # a key and a value of 4 numbers of 2 bytes in each of 3 layers
    assert kv_bytes_per_token(SHAPE, "bfloat16") == 2 * 3 * 4 * 2
    # Qwen2.5-3B: 36 layers, 2 key heads of 128
    assert kv_bytes_per_token(shape_of(config_of(ModelConfig("q", "Qwen/Qwen2.5-3B"))), "bfloat16") == 36_864


def test_memory_of_an_engine_by_hand():
    model = ModelConfig(
        "small", "envs/countdown/models/tiny", dtype="bfloat16", max_prompt_tokens=6, max_completion_tokens=4
    )
    engine = rollout_memory(SHAPE, model, max_num_seqs=2, batched_tokens=8192)
    assert engine.weights == model_bytes(SHAPE, "bfloat16") == 200
    assert engine.activations == 8192 * (3 * 16 + 4 * 8) * 2 + 3 * 2 * 32 * 4
    assert engine.kv_sequence == 10 * 48
    halves = rollout_memory(SHAPE, model, max_num_seqs=2, batched_tokens=8192, tensor_parallel_size=2)
    assert (halves.weights, halves.kv_sequence) == (100, 5 * 48) and halves.activations == engine.activations


def test_ranks_divide_persistent_memory_and_add_gathered_layers():
    part = sharded(MEMORY, SHAPE, 4)
    assert (part.weights, part.gradients, part.state, part.step) == (100, 100, 200, 100)
    # gathered in float32: 40 outside the layers, two layers of 20; gradients of the 40 and of one layer
    assert part.forward == Peak(100, 60 + 4 * 80)
    assert part.backward == Peak(0, 120 + 4 * 80 + 4 * 60)
    assert sharded(MEMORY, SHAPE, 1) == MEMORY


def test_the_peak_adds_the_larger_of_passes_and_step_to_persistent_memory():
    assert MEMORY.peak == 400 + 400 + 800 + 400
    assert dataclasses.replace(MEMORY, step=0).peak == 400 + 400 + 800 + 160


def test_an_8_bit_optimizer_keeps_a_quarter_of_the_state():
    # 100 weights: two bytes each, and two float32 scales for 256 of them
    assert with_8bit_optimizer(MEMORY).state == pytest.approx(100 * (2 + 8 / 256))


def test_memory_is_interpolated_linearly_between_samples():
    double = dataclasses.replace(MEMORY, forward=Peak(100, 160))
    table = ActorTable((1, 3, 5), (MEMORY, double, double))
    assert table.at(1) == MEMORY and table.at(5) == double
    assert table.at(2).forward.activations == 110


@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_of_more_layers_is_extrapolated_from_two_and_four(checkpointing):
    config = with_layers(config_of(ModelConfig("qwen", "Qwen/Qwen2.5-0.5B")), 6)
    model = ModelConfig(
        "qwen",
        "Qwen/Qwen2.5-0.5B",
        dtype="bfloat16",
        max_prompt_tokens=64,
        max_completion_tokens=448,
        gradient_checkpointing=checkpointing,
    )
    whole = trace_update(config, model, AlgorithmConfig(micro_batch_tokens=4 * 512), full_batch(model, 4), True)
    assert actor_table(config, model, AlgorithmConfig()).at(4).peak == pytest.approx(whole.peak, rel=0.01)

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from conf.algorithms import AlgorithmConfig
from conf.workers import LoraConfig, ModelConfig
from grpo.settings import KlConfig
from tools.planner import roofline
from tools.planner.hardware import GpuSpec
from tools.planner.roofline import Workload
from tools.planner.shape import Shape

# A petaflop, a terabyte a second, links of 100 and a host of 10 GB/s.
GPU = GpuSpec("a GPU", 81920, 1000, 1000, 100, 10)
SHAPE = Shape(
    parameters=10**9,
    matrix_parameters=10**9,
    layer_parameters=1,
    outer_parameters=1,
    layers=10,
    hidden=1000,
    intermediate=4000,
    attention_width=1000,
    kv_width=100,
    vocabulary=1000,
)


def workload(lora: int = 0, **algorithm) -> Workload:
    model = ModelConfig(
        "m",
        "envs/countdown/models/tiny",
        dtype="bfloat16",
        max_prompt_tokens=200,
        max_completion_tokens=1000,
        lora=LoraConfig(lora),
    )
    return Workload(GPU, SHAPE, model, AlgorithmConfig(num_prompts=10, group_size=10, **algorithm))


def test_seconds_of_generation_by_hand():
    # 100 concurrent completions of 500 tokens on average: 1,000 decoding steps, for the longest. Each reads 2 GB of
    # weights; each of the 50,000 tokens reads 100 + 250 tokens' keys and values of 4,000 bytes: 70 GB.
    # The GPU takes 3.45 s for that and the host, which works at the same time, 1,000 * 1.7 ms + 50,000 * 34 us = 3.4 s.
    decoding = (1000 * 2 + 70) / (1000 * 0.6)
    prefill = 2e9 * 10 * 100 / (1e15 * 0.5)
    assert roofline.generation_seconds(workload(), 100, 10, 1, 256) == pytest.approx(decoding + prefill)
    # with 25 sequences at a time the tokens need 2,000 steps
    assert roofline.generation_seconds(workload(), 100, 10, 1, 25) == pytest.approx((2000 * 2 + 70) / 600 + prefill)


def test_the_host_bounds_the_generation_of_small_models():
    small = replace(workload(), shape=replace(SHAPE, parameters=10**6, matrix_parameters=10**6, layers=1, kv_width=1))
    prefill = 2e6 * 10 * 100 / (1e15 * 0.5)
    assert roofline.generation_seconds(small, 100, 10, 1, 256) == pytest.approx(1.7 + 50_000 * 34e-6 + prefill)


def test_seconds_of_training_by_hand():
    # 10 prompts of 100 tokens, 100 completions of 500; 2e9 operations a token, and attention 2 * 10 layers * 1000 * 600
    forward = 51_000 * (2e9 + 12e6)
    assert workload().forward_flops == forward
    # equal to 3 forward passes; 5.1 micro-batches of 24 bytes a weight; one optimizer step of 72
    plain = 3 * forward / 0.3e15 + (5.1 * 24 + 72) / 700
    assert roofline.update_seconds(workload(), 1, 10_000, False) == pytest.approx(plain)
    assert roofline.update_seconds(workload(), 1, 10_000, True) - plain == pytest.approx(forward / 0.3e15)
    assert roofline.update_seconds(workload(lora=8), 1, 10_000, False) == pytest.approx(2 * forward / 0.24e15)


@pytest.mark.parametrize(
    ("algorithm", "passes"),
    [
        ({}, 1),  # the reference alone: the update's own forward pass gives the old log-probabilities
        ({"kl": KlConfig(0.0)}, 0),
        ({"num_minibatches": 2}, 2),
        ({"num_minibatches": 2, "kl": KlConfig(0.0)}, 1),
        ({"kl": KlConfig(0.1, "reward")}, 2),
    ],
)
def test_forward_passes_before_the_update_are_those_that_the_loss_needs(algorithm, passes):
    forward = 51_000 * (2e9 + 12e6)
    assert roofline.logprobs_seconds(workload(**algorithm), 1, 10_000) == pytest.approx(passes * forward / 0.31e15)


def test_gathering_weights_bounds_the_time_of_small_micro_batches():
    # 25.5 micro-batches of 1,000 tokens a rank, three times half of 4 GB over 70 GB/s: more than the arithmetic
    gathering = 25.5 * 3 * 2 / 70
    moved = 25.5 * 24 / 700 + 72 / 700 / 2
    assert roofline.update_seconds(workload(), 2, 1000, False) == pytest.approx(gathering + moved)


def test_seconds_of_weight_transfers_by_hand():
    # 2 GB of weights, on the GPU at 700 GB/s: float32 is read and bfloat16 written; a checksum moves 5 times 2 GB
    actor = {"convert to the dtype of generation": 6 / 700, "the actor's checksum": 10 / 700}
    loading = {"load into the layers": 8 / 700}
    ipc = {"pack into a buffer": 4 / 700, "copy out of the buffer": 4 / 700, "the sampler's checksum": 10 / 700}
    actor |= {"calls to the processes": 0.1, "vLLM's work for each layer": 10 * 0.01}
    alone = {"gather the ranks' shards": 0.0}
    found = roofline.sync_seconds(workload(), "ipc", ranks=1)
    assert found == pytest.approx(alone | actor | ipc | loading)
    assert sum(found.values()) == pytest.approx(42 / 700 + 0.2)
    # the link carries 70 GB/s
    nccl = {"pack into a buffer": 4 / 700, "send": 2 / 70, "the sampler's checksum": 10 / 700}
    sharded = {"gather the ranks' shards": 0.5 * 2 / 70, "convert to the dtype of generation": 3 / 700}
    assert roofline.sync_seconds(workload(), "nccl", ranks=2) == pytest.approx(actor | sharded | nccl | loading)
    # 8.5 GB/s to the host and back, 5 GB/s and 3.5 GB/s in it
    shm = {"to host memory": 2 / 8.5, "write to /dev/shm": 2 / 5, "to the sampler's GPU": 2 / 8.5}
    shm |= {"read from /dev/shm, and the sampler's checksum": 2 / 3.5}
    assert roofline.sync_seconds(workload(), "shm", ranks=1) == pytest.approx(alone | actor | shm | loading)


def test_merged_adapters_are_not_converted_when_they_are_sent():
    assert roofline.sync_seconds(workload(lora=8), "ipc", 1)["convert to the dtype of generation"] == 0


def test_seconds_of_offloading_by_hand():
    assert roofline.to_host_and_back_seconds(workload(), 8.5e9) == pytest.approx(2.0)


def test_the_documentation_has_the_terms_of_each_weight_transfer():
    lines = Path("docs/planning.md").read_text(encoding="utf-8").splitlines()
    head = lines.index("| term | `ipc` | `nccl` | `shm` | code that spends it |")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in takewhile(str.strip, lines[head + 2 :])]
    for column, transfer in enumerate(("ipc", "nccl", "shm"), start=1):
        terms = {row[0] for row in rows if row[column]}
        assert terms == set(roofline.sync_seconds(workload(), transfer, ranks=2)), transfer

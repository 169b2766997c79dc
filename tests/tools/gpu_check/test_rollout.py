from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from grpo.types import Completion
from tools.gpu_check import rollout
from tools.gpu_check.generation import Generated, decode_constants, planned_seconds, workload
from tools.gpu_check.rollout import agreement, equality, last_lines, measure
from tools.gpu_check.stage import Setup
from tools.planner.memory import kv_bytes_per_token, model_bytes
from tools.planner.roofline import Workload
from workers.placement import check_ranks, make_placement
from workers.rank_group import WorkerDied


def completions(count: int, length: int, prompt: int = 4) -> list[Completion]:
    ids = tuple(range(length))
    return [Completion((1,) * prompt, ids, "", (0.0,) * length, "length", 0) for _ in range(count)]


@pytest.fixture
def work(tmp_path) -> Workload:
    setup = Setup("cuda", "qwen-0.5b", "h100", tmp_path, 60.0)
    found = workload(setup, setup.config("topology=one_gpu"))
    assert found is not None
    return found


def seconds_of(work: Workload, count: int, length: int, fraction: float) -> Generated:
    """A run that reads its bytes with this fraction of the bandwidth."""
    run = Generated(completions(count, length), 1.0)
    read = model_bytes(work.shape, "bfloat16") * length + run.tokens_read * kv_bytes_per_token(work.shape, "bfloat16")
    return replace(run, seconds=read / (work.gpu.bandwidth_gbs * 1e9 * fraction))


def test_keys_and_values_of_all_earlier_tokens_are_read_for_each_token():
    assert Generated(completions(2, 3), 1.0).tokens_read == 2 * (4 + 5 + 6)


def test_two_runs_give_the_constants_of_the_host(work):
    # 512 steps of 2 ms + 30 us for each sequence
    few, many = (Generated(completions(count, 512), 512 * (0.002 + count * 30e-6)) for count in (8, 256))
    expected = {"decode_seconds": 0.002, "sequence_seconds": 30e-6}
    assert decode_constants(work, few, many) == pytest.approx(expected)


def test_generation_that_the_memory_limits_gives_its_share_of_the_bandwidth(work):
    few, many = (seconds_of(work, count, 512, 0.7) for count in (8, 256))
    assert decode_constants(work, few, many) == pytest.approx({"decode_bandwidth": 0.7})


@pytest.mark.parametrize("few_seconds", [0.01, 100.0])
def test_the_constants_of_decoding_are_not_negative(work, few_seconds):
    few, many = Generated(completions(8, 512), few_seconds), Generated(completions(256, 512), 5.0)
    assert all(value >= 0 for value in decode_constants(work, few, many).values())


def test_the_planned_seconds_are_those_of_the_planner_for_the_tokens_that_were_generated(work):
    seconds = 512 * (work.efficiencies.decode_seconds + 64 * work.efficiencies.sequence_seconds)
    run = Generated(completions(64, 512), seconds)
    assert planned_seconds(work, run) == pytest.approx(run.seconds, rel=0.01)


@pytest.mark.parametrize(("differing", "passed"), [(0, True), (1, True), (2, False)])
def test_a_tenth_of_the_completions_may_differ_early_in_bfloat16(differing, passed):
    before = completions(10, 40)
    after = [replace(each, token_ids=(99, *each.token_ids[1:])) for each in before[:differing]] + before[differing:]
    assert [each.passed for each in equality("equal", before, after, "bfloat16")] == [None, passed]


def test_in_float32_all_completions_must_be_equal():
    before = completions(10, 40)
    after = [replace(before[0], token_ids=(99,)), *before[1:]]
    assert [each.passed for each in equality("equal", before, after, "float32")] == [None, False]


@pytest.mark.parametrize(("gap", "passed"), [(0.005, True), (0.05, False), (-0.2, False)])
def test_agreement_fails_where_the_median_ratio_is_not_1(gap, passed):
    found = {each.name: each.passed for each in agreement("", torch.full((100,), gap), "bfloat16")}
    assert found["probability ratio actor / vLLM, p50"] is passed


def test_the_last_lines_of_a_traceback_name_the_error():
    assert last_lines("Traceback\n  File\n\nValueError: why\n", 1) == "ValueError: why"


@pytest.fixture
def on_gpu(tmp_path, monkeypatch) -> Setup:
    """A check of a machine with a GPU, up to the start of the trio."""
    monkeypatch.setattr(Setup, "random_model", lambda self, name: "envs/countdown/models/tiny")
    monkeypatch.setattr(rollout, "gpu_memory", lambda setup, when: iter(()))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    return Setup("cuda", "qwen-0.5b", "h100", tmp_path, 60.0)


@pytest.mark.parametrize("transfer", ["ipc", "shm", "nccl"])
def test_the_settings_of_each_transfer_fit_their_gpus(on_gpu, transfer):
    cfg = rollout.settings(on_gpu, transfer, eager=False)
    gpus = 2 if transfer == "nccl" else 1
    placement = make_placement(cfg.topology, cfg.rollout, gpus)
    check_ranks(cfg.topology, cfg.algorithm, cfg.rows_per_update, placement)
    assert (cfg.topology.weight_transfer, cfg.topology.num_gpus) == (transfer, gpus)
    assert (len(placement.actor), len(placement.rollout)) == (1, 1)


def test_an_engine_that_does_not_start_is_reported_and_started_eagerly(on_gpu, monkeypatch):
    started = []

    @contextmanager
    def start_trio(cfg, interrupt, meter):
        started.append((cfg.topology.weight_transfer, cfg.rollout.enforce_eager))
        if not cfg.rollout.enforce_eager:
            raise WorkerDied("rollout rank 0 died") from RuntimeError("Traceback\n\nInductorError: no compiler")
        raise ValueError("ipc is not permitted here")
        yield

    monkeypatch.setattr(rollout, "start_trio", start_trio)
    found = {each.name: (each.value, each.passed) for each in measure(on_gpu)}
    assert started == [("ipc", False), ("ipc", True), ("shm", False), ("shm", True)]
    assert found["ipc: start of the engine"] == ("Traceback\nInductorError: no compiler", False)
    assert found["ipc failed"] == ("ipc is not permitted here", False)


def test_a_transfer_for_which_no_time_is_left_is_named(on_gpu, monkeypatch):
    monkeypatch.setattr(rollout, "start_trio", lambda cfg, interrupt, meter: nullcontext())
    for part in ("engine", "same_weights", "changed_weights"):
        monkeypatch.setattr(rollout, part, lambda *args: iter(()))
    found = {each.name: each.value for each in measure(replace(on_gpu, seconds=1.0))}
    assert str(found["shm"]).startswith("not checked: ") and " s left, it takes about" in str(found["shm"])
    assert str(found["nccl"]) == "not checked: needs two GPUs"


@pytest.mark.slow
def test_the_stage_passes_on_a_cpu(tmp_path):
    found = {each.name: each for each in measure(Setup("cpu", "tiny", None, tmp_path / "rollout", 600.0))}
    assert all(each.passed is not False for each in found.values()), found
    assert found["completions repeated with the same seeds"].value == 4
    assert found["completions equal after shm"].value == 8
    assert found["shm: mean change of a log-probability by the new weights"].value > 0.01
    assert found["attention"].value and found["tokens of the KV cache"].value > 0

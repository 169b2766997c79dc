"""A model sharded over two processes computes the same as in a single process."""

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from conf.algorithms import AlgorithmConfig, OptimizerConfig
from conf.workers import LoraConfig, ModelConfig, TopologyConfig
from grpo.grpo import microbatches
from grpo.settings import KlConfig, LossConfig
from tests.builders import random_batch, saved_small_model, small_model
from workers.actor import Actor, Reference
from workers.rank_group import ALONE, RankInfo
from workers.weights import Weights, fetch, publish

LENGTHS = [1, 9, 4, 6, 2, 8, 7, 3]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def in_processes(work, size: int, *args) -> None:
    """Run work(info, *args) in `size` processes, the ranks of one model."""
    context = torch.multiprocessing.get_context("spawn")
    address = free_address()
    running = [context.Process(target=_run_rank, args=(work, address, rank, size, args)) for rank in range(size)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * size


def _run_rank(work, address, rank, size, args) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    work(RankInfo(rank=rank, size=size, address=address), *args)
    if size > 1:
        torch.distributed.destroy_process_group()


@pytest.fixture
def model_config(tmp_path):
    return saved_small_model(tmp_path / "model", max_completion_tokens=16)


def actor(model: ModelConfig, info: RankInfo = ALONE, **settings) -> Actor:
    chosen: dict[str, Any] = {
        "optimizer": OptimizerConfig(lr=1e-2),
        "kl": KlConfig(0.1),
        "micro_batch_tokens": 30,
    } | settings
    return Actor(model, AlgorithmConfig(**chosen), TopologyConfig(timeout_s=60, offload_actor=True), 10, info)


def train(info: RankInfo, model: ModelConfig, folder: Path, settings: dict, updates: int, resume: str = "") -> None:
    """Make `updates` updates, from the start or from a checkpoint; save log-probabilities, metrics and weights."""
    trained = actor(model, info, **settings)
    if resume:
        trained.load(Path(resume))
    batch = random_batch(LENGTHS)
    logprobs = trained.logprobs(batch)
    metrics = []
    for _ in range(updates):
        metrics.append(trained.update(batch).metrics)
        trained.offload()  # on a CPU the weights do not move, but the calls are the same
    weights = publish(trained.iter_weights(), folder / "shared", updates, info.is_first)
    trained.save(folder / "checkpoint")
    left = {"logprobs": logprobs, "metrics": metrics, "version": weights.version, "checksum": weights.checksum}
    torch.save(left | {"path": weights.path}, folder / f"{info.rank}.pt")


def trained_by(size: int, folder: Path, model: ModelConfig, updates: int = 3, resume: str = "", **settings) -> dict:
    folder.mkdir()
    in_processes(train, size, model, folder, settings, updates, resume)
    left = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
    weights = fetch(Weights(left[0]["version"], left[0]["checksum"], path=left[0]["path"]))
    assert all(torch.equal(rank["logprobs"], left[0]["logprobs"]) for rank in left)
    return {"logprobs": left[0]["logprobs"], "metrics": [rank["metrics"] for rank in left], "weights": weights}


def assert_close(one: dict, other: dict, tolerance: float = 1e-5) -> None:
    assert torch.allclose(one["logprobs"], other["logprobs"], atol=tolerance)
    for step, found in enumerate(one["metrics"][0]):
        assert found == pytest.approx(other["metrics"][0][step], abs=tolerance, rel=1e-4)
    assert one["weights"].keys() == other["weights"].keys()
    for name, tensor in one["weights"].items():
        # Softmax ignores a key bias, so its gradient is only rounding error, which Adam scales to the size of lr.
        allowed = 10 * tolerance if name.endswith("k_proj.bias") else tolerance
        assert torch.allclose(tensor, other["weights"][name], atol=allowed), name


def test_every_row_goes_to_one_rank_and_all_ranks_have_equally_many_micro_batches():
    batch = random_batch([1, 9, 4, 6, 2, 8])
    for ranks in (1, 2, 3, 6):
        shares = [list(microbatches(batch, 30, rank, ranks)) for rank in range(ranks)]
        assert len({len(share) for share in shares}) == 1
        rows = torch.cat([index for share in shares for index, _ in share])
        assert sorted(rows.tolist()) == list(range(6))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"num_minibatches": 2}, id="rl"),
        pytest.param({"loss": LossConfig("nll"), "kl": KlConfig(0.0)}, id="sft"),
    ],
)
def test_two_ranks_compute_the_same_as_one(tmp_path, model_config, settings):
    one = trained_by(1, tmp_path / "one", model_config, **settings)
    two = trained_by(2, tmp_path / "two", model_config, **settings)
    assert two["metrics"][0] == two["metrics"][1]
    assert_close(one, two)


@pytest.mark.slow
def test_a_checkpoint_can_be_resumed_with_another_number_of_ranks(tmp_path, model_config):
    straight = trained_by(1, tmp_path / "straight", model_config, updates=4)
    for first, then in ((2, 1), (1, 2)):
        name = f"{first}-{then}"
        trained_by(first, tmp_path / f"{name}-first", model_config, updates=2)
        resume = str(tmp_path / f"{name}-first" / "checkpoint")
        resumed = trained_by(then, tmp_path / name, model_config, updates=2, resume=resume)
        for key, tensor in straight["weights"].items():
            assert torch.allclose(tensor, resumed["weights"][key], atol=1e-5), key


@pytest.mark.slow
def test_a_sharded_adapter_trains_like_an_unsharded_one(tmp_path, model_config):
    model = dataclasses.replace(model_config, lora=LoraConfig(rank=4))
    one = trained_by(1, tmp_path / "one", model)
    two = trained_by(2, tmp_path / "two", model)
    assert_close(one, two)


@pytest.mark.slow
def test_a_bfloat16_base_with_a_float32_adapter_can_be_sharded(tmp_path, model_config):
    model = dataclasses.replace(model_config, dtype="bfloat16", lora=LoraConfig(rank=4))
    one = trained_by(1, tmp_path / "one", model)
    two = trained_by(2, tmp_path / "two", model)
    assert_close(one, two, tolerance=0.05)


def update_at_once(info: RankInfo, model: ModelConfig, folder: Path) -> None:
    trained = actor(model, info)
    trained.update(dataclasses.replace(random_batch(LENGTHS), ref_logprobs=None))
    adapter = [parameter for name, parameter in trained.model.named_parameters() if ".lora_" in name]
    (folder / f"{info.rank}").write_text(str({parameter.dtype for parameter in adapter}))


def test_the_first_pass_of_a_sharded_adapter_may_be_that_of_its_reference(tmp_path, model_config):
    model = dataclasses.replace(model_config, dtype="bfloat16", lora=LoraConfig(rank=4))
    in_processes(update_at_once, 2, model, tmp_path)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["{torch.float32}"] * 2


def test_gradient_checkpointing_works_with_sharded_layers(tmp_path, model_config):
    model = dataclasses.replace(model_config, gradient_checkpointing=True)
    assert_close(trained_by(1, tmp_path / "one", model), trained_by(2, tmp_path / "two", model))


def replace_reference(info: RankInfo, model: ModelConfig, folder: Path) -> None:
    reference = Reference(model, AlgorithmConfig(micro_batch_tokens=30), TopologyConfig(timeout_s=60), info)
    reference.logprobs(random_batch(LENGTHS))
    reference.load(folder / "new.safetensors")
    torch.save(reference.logprobs(random_batch(LENGTHS)), folder / f"{info.rank}.pt")
    reference.save(folder / "again.safetensors")


def test_a_sharded_reference_loads_new_weights(tmp_path, model_config):
    from safetensors.torch import load_file, save_file

    new = {name: tensor.detach() + 0.01 for name, tensor in small_model().named_parameters()}
    save_file(new, tmp_path / "new.safetensors")
    in_processes(replace_reference, 2, model_config, tmp_path)
    found = torch.load(tmp_path / "0.pt")
    alone = Reference(model_config, AlgorithmConfig(), TopologyConfig())
    alone.load(tmp_path / "new.safetensors")
    assert torch.allclose(found, alone.logprobs(random_batch(LENGTHS)), atol=1e-5)
    again = load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in new.items())

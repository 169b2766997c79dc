"""One model held by two processes, against the same model held by one."""

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from conf.algorithms import AlgorithmConfig, OptimizerConfig
from conf.schema import LoraConfig, ModelConfig
from grpo.batching import microbatches
from grpo.settings import KlConfig
from tests.builders import random_batch, small_model
from workers.policy import Policy, TrainedPolicy
from workers.ranks import ALONE, Ranks, join
from workers.weight_sync import Weights, fetch

LENGTHS = [1, 9, 4, 6, 2, 8, 7, 3]


def free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def in_processes(work, size: int, *args) -> None:
    """work(ranks, *args) in `size` processes that hold a model together."""
    context = torch.multiprocessing.get_context("spawn")
    address = free_address()
    running = [context.Process(target=_one, args=(work, address, rank, size, args)) for rank in range(size)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0] * size


def _one(work, address, rank, size, args) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    work(join(address, rank, size, "cpu", 60.0), *args)
    if size > 1:
        torch.distributed.destroy_process_group()


@pytest.fixture
def model_config(tmp_path):
    small_model().save_pretrained(tmp_path / "model")
    return ModelConfig(name="small", path=str(tmp_path / "model"), max_completion_tokens=16)


def policy(model: ModelConfig, ranks: Ranks = ALONE, **settings) -> TrainedPolicy:
    chosen: dict[str, Any] = {
        "optimizer": OptimizerConfig(lr=1e-2),
        "kl": KlConfig(0.1),
        "micro_batch_tokens": 30,
    } | settings
    return TrainedPolicy(model, AlgorithmConfig(**chosen), "cpu", num_steps=10, ranks=ranks, offload=True)


def train(ranks: Ranks, model: ModelConfig, folder: Path, settings: dict, updates: int, resume: str = "") -> None:
    """`updates` updates from the start or from a checkpoint; weights, log-probabilities and metrics are left behind."""
    trained = policy(model, ranks, **settings)
    if resume:
        trained.load(Path(resume))
    batch = random_batch(LENGTHS)
    mine = trained.logprobs(batch)
    metrics = []
    for _ in range(updates):
        metrics.append(trained.update(batch))
        trained.rest()  # to host memory, which on a CPU is where it is, but by the same calls
    weights = trained.publish(folder / "shared", version=updates)
    trained.save(folder / "checkpoint")
    torch.save({"mine": mine, "metrics": metrics, "weights": dataclasses.asdict(weights)}, folder / f"{ranks.rank}.pt")


def trained_by(size: int, folder: Path, model: ModelConfig, updates: int = 3, resume: str = "", **settings) -> dict:
    folder.mkdir()
    in_processes(train, size, model, folder, settings, updates, resume)
    left = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
    weights = dict(fetch(Weights(**left[0]["weights"])))
    logprobs = torch.stack([one["mine"] for one in left]).sum(0)
    return {"logprobs": logprobs, "metrics": [one["metrics"] for one in left], "weights": weights}


def assert_close(one: dict, other: dict, tolerance: float = 1e-5) -> None:
    assert torch.allclose(one["logprobs"], other["logprobs"], atol=tolerance)
    for step, found in enumerate(one["metrics"][0]):
        assert found == pytest.approx(other["metrics"][0][step], abs=tolerance, rel=1e-4)
    assert one["weights"].keys() == other["weights"].keys()
    for name, tensor in one["weights"].items():
        assert torch.allclose(tensor, other["weights"][name], atol=tolerance), name


def test_parts_are_shared_out_so_that_each_row_is_done_once_and_all_ranks_have_as_many():
    batch = random_batch([1, 9, 4, 6, 2, 8])
    for ranks in (1, 2, 3, 6):
        shares = [list(microbatches(batch, 30, rank, ranks)) for rank in range(ranks)]
        assert len({len(share) for share in shares}) == 1
        rows = torch.cat([index for share in shares for index, _ in share])
        assert sorted(rows.tolist()) == list(range(6))


def test_two_ranks_train_like_one(tmp_path, model_config):
    settings = {"num_minibatches": 2}
    one = trained_by(1, tmp_path / "one", model_config, **settings)
    two = trained_by(2, tmp_path / "two", model_config, **settings)
    assert two["metrics"][0] == two["metrics"][1]
    assert_close(one, two)


@pytest.mark.slow
def test_a_checkpoint_of_two_ranks_is_gone_on_with_by_one_and_the_other_way_round(tmp_path, model_config):
    straight = trained_by(1, tmp_path / "straight", model_config, updates=4)
    for first, then in ((2, 1), (1, 2)):
        name = f"{first}-{then}"
        trained_by(first, tmp_path / f"{name}-first", model_config, updates=2)
        resume = str(tmp_path / f"{name}-first" / "checkpoint")
        resumed = trained_by(then, tmp_path / name, model_config, updates=2, resume=resume)
        for key, tensor in straight["weights"].items():
            assert torch.allclose(tensor, resumed["weights"][key], atol=1e-5), key


@pytest.mark.slow
def test_an_adapter_in_parts_trains_like_a_whole_one(tmp_path, model_config):
    model = dataclasses.replace(model_config, lora=LoraConfig(rank=4))
    one = trained_by(1, tmp_path / "one", model)
    two = trained_by(2, tmp_path / "two", model)
    assert_close(one, two)


@pytest.mark.slow
def test_a_bfloat16_base_below_a_float32_adapter_can_be_in_parts(tmp_path, model_config):
    model = dataclasses.replace(model_config, dtype="bfloat16", lora=LoraConfig(rank=4))
    one = trained_by(1, tmp_path / "one", model)
    two = trained_by(2, tmp_path / "two", model)
    assert_close(one, two, tolerance=0.05)


def test_layers_that_are_computed_again_are_gathered_again(tmp_path, model_config):
    model = dataclasses.replace(model_config, gradient_checkpointing=True)
    assert_close(trained_by(1, tmp_path / "one", model), trained_by(2, tmp_path / "two", model))


def replace_reference(ranks: Ranks, model: ModelConfig, folder: Path) -> None:
    reference = Policy(model, AlgorithmConfig(micro_batch_tokens=30), "cpu", ranks)
    reference.logprobs(random_batch(LENGTHS))
    reference.read_weights(folder / "new.safetensors")
    torch.save(reference.logprobs(random_batch(LENGTHS)), folder / f"{ranks.rank}.pt")
    reference.save_weights(folder / "again.safetensors")


def test_a_reference_in_parts_takes_new_weights(tmp_path, model_config):
    from safetensors.torch import load_file, save_file

    new = {name: tensor.detach() + 0.01 for name, tensor in small_model().named_parameters()}
    save_file(new, tmp_path / "new.safetensors")
    in_processes(replace_reference, 2, model_config, tmp_path)
    found = torch.load(tmp_path / "0.pt") + torch.load(tmp_path / "1.pt")
    alone = Policy(model_config, AlgorithmConfig(), "cpu")
    alone.read_weights(tmp_path / "new.safetensors")
    assert torch.allclose(found, alone.logprobs(random_batch(LENGTHS)), atol=1e-5)
    again = load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in new.items())

"""FSDP2 over NCCL: an actor sharded over all GPUs against an actor in a single process.

Both make two updates on the same batch. In float32 they differ only in the order of their sums: log-probabilities,
loss and gradient norm must agree to 1e-3, and the changes of the weights to a tenth. AdamW scales every gradient to
the size of the learning rate, so the few weights whose gradient is only rounding error may change in opposite
directions. In bfloat16 FSDP gathers all weights in that type, while autocast keeps some operations in float32: both
round as much as bfloat16 differs from float32 (tools/gpu_check/precision.py).

A single GPU is sharded too, over one rank, which uses the same code and the same NCCL calls. On a CPU there are two
ranks, which communicate by gloo.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from conf.schema import Config
from tools.gpu_check.batch import random_batch
from tools.gpu_check.precision import relative_difference
from tools.gpu_check.stage import Measurement, Setup
from workers.actor import Actor
from workers.placement import free_address
from workers.rank_group import RankInfo

ROWS_PER_RANK, PROMPT, COMPLETION = 4, 32, 96
UPDATES = 2
LR = 1e-4
TIMEOUT_S = 60.0
# The largest differences: of log-probabilities and of the loss absolute, of the gradient norm relative.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
CHANGES_TOLERANCE = 0.1


@dataclass(frozen=True)
class Trained:
    """logprobs, [B, T] before each update; metrics of each update; changes of each full weight, on the CPU; seconds of
    the last update."""

    logprobs: Tensor
    metrics: list[dict[str, float]]
    changes: list[Tensor]
    seconds: float


def measure(setup: Setup) -> Iterator[Measurement]:
    size = torch.cuda.device_count() if setup.on_gpu else 2
    yield Measurement("ranks", size)
    dtypes = ["float32", "bfloat16"]
    configs = [config_of(setup, dtype) for dtype in dtypes]
    addresses = [free_address(None, local=True) for _ in dtypes]
    with other_ranks(setup, configs, addresses, size):
        for dtype, cfg, address in zip(dtypes, configs, addresses, strict=True):
            alone = updated(setup, cfg, RankInfo(device=setup.device), size)
            sharded = train_sharded(setup, cfg, RankInfo("actor", 0, size, address, setup.device))
            yield from compare(dtype, alone, sharded)


def config_of(setup: Setup, dtype: str) -> Config:
    limits = [f"model.max_prompt_tokens={PROMPT}", f"model.max_completion_tokens={COMPLETION}"]
    training = [f"algorithm.optimizer.lr={LR}", f"algorithm.micro_batch_tokens={2 * (PROMPT + COMPLETION)}"]
    path = f"model.path={setup.random_model(setup.model)}"
    waiting = f"topology.timeout_s={TIMEOUT_S}"
    return setup.config(path, f"model.dtype={dtype}", "model.local_path=null", waiting, *limits, *training)


@contextmanager
def other_ranks(setup: Setup, configs: Sequence[Config], addresses: Sequence[str], size: int) -> Iterator[None]:
    """Start ranks 1 to `size` - 1. This process is the first rank."""
    context = torch.multiprocessing.get_context("spawn")
    arguments = [(setup, configs, addresses, rank, size) for rank in range(1, size)]
    processes = [context.Process(target=run_rank, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.join(TIMEOUT_S)


def run_rank(setup: Setup, configs: Sequence[Config], addresses: Sequence[str], rank: int, size: int) -> None:
    if setup.on_gpu:
        torch.cuda.set_device(rank)
    for cfg, address in zip(configs, addresses, strict=True):
        train_sharded(setup, cfg, RankInfo("actor", rank, size, address, setup.device))


def train_sharded(setup: Setup, cfg: Config, info: RankInfo) -> Trained:
    """Train as a rank of the model; a model of a single rank is sharded too."""
    if info.size == 1:  # the actor would not use FSDP
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        backend = "cpu:gloo,cuda:nccl" if setup.on_gpu else "gloo"
        dist.init_process_group(backend, init_method=f"tcp://{info.address}", rank=0, world_size=1)
    try:
        return updated(setup, cfg, info, info.size)
    finally:
        dist.destroy_process_group()


def updated(setup: Setup, cfg: Config, info: RankInfo, size: int) -> Trained:
    """Make the updates with a new actor, and free its memory. The batch depends on `size`, the number of ranks of the
    sharded actor."""
    try:
        return update(setup, cfg, Actor(cfg.model, cfg.algorithm, cfg.topology, UPDATES, info), size)
    finally:
        gc.collect()  # the model refers to itself
        if setup.on_gpu:
            torch.cuda.empty_cache()


def update(setup: Setup, cfg: Config, actor: Actor, size: int) -> Trained:
    batch = random_batch(cfg.model, actor.model.config.vocab_size, ROWS_PER_RANK * size)
    before, logprobs, metrics, seconds = full_weights(actor), [], [], 0.0
    for _ in range(UPDATES):
        logprobs.append(actor.logprobs(batch))
        result, seconds = setup.timed(lambda: actor.update(batch))
        metrics.append(result.metrics)
    changes = [(after - first).to(setup.device) for after, first in zip(full_weights(actor), before, strict=True)]
    return Trained(torch.stack(logprobs), metrics, changes, seconds)


def full_weights(actor: Actor) -> list[Tensor]:
    return [tensor.to("cpu", copy=True) for _, tensor in actor.iter_weights()]


def compare(dtype: str, alone: Trained, sharded: Trained) -> Iterator[Measurement]:
    tolerance = TOLERANCE[dtype]
    gaps = {
        "log-probabilities": float((sharded.logprobs - alone.logprobs).abs().max()),
        "loss": max(abs(gap) for gap in differences("loss", sharded, alone)),
        "gradient norm": max(
            abs(gap) / each["grad_norm"]
            for gap, each in zip(differences("grad_norm", sharded, alone), alone.metrics, strict=True)
        ),
    }
    for name, gap in gaps.items():
        yield Measurement(f"{dtype}: {name}", gap, passed=gap < tolerance)
    if dtype == "float32":
        change = relative_difference(sharded.changes, alone.changes)
        yield Measurement(f"{dtype}: changes of the weights", change, passed=change < CHANGES_TOLERANCE)
    yield Measurement(f"{dtype}: an update of a single process", alone.seconds, "s")
    yield Measurement(f"{dtype}: an update, sharded", sharded.seconds, "s")


def differences(name: str, one: Trained, other: Trained) -> list[float]:
    """Of a metric, by update."""
    return [a[name] - b[name] for a, b in zip(one.metrics, other.metrics, strict=True)]

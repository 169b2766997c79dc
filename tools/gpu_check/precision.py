"""Rounding: log-probabilities, loss and gradient of one batch in bfloat16 and float32, on the device and on the CPU.

In float32 the devices differ only in the order of their sums: PyTorch does not use TF32 for matrix products unless it
is told to. A difference of 1e-3 would be a hundred times what is expected.

In bfloat16 a number has 8 significant bits. The logits of a model with random weights have a standard deviation of
0.6 and a maximum of about 3, where rounding to bfloat16 moves them by up to 0.008; the errors of the layers below add
up to about the same. So the largest of some hundred differences must be below 0.1, and their mean below 0.02. The
gradient averages over many such errors and must keep its direction.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from conf.algorithms import AlgorithmConfig
from grpo.grpo import Batch, completion_logprobs, ppo_loss, token_losses, token_weights
from tools.gpu_check.batch import random_batch, with_old_logprobs
from tools.gpu_check.stage import Measurement, Setup
from workers.models import load_model

ROWS, PROMPT, COMPLETION = 2, 32, 96


@dataclass(frozen=True)
class Bounds:
    """The largest differences that are allowed: of log-probabilities (the largest and their mean), of the loss, and of
    the gradient, as a fraction of its norm and as a cosine."""

    largest: float
    mean: float
    loss: float
    gradient: float
    cosine: float


FLOAT32 = Bounds(largest=1e-3, mean=1e-4, loss=1e-4, gradient=1e-2, cosine=0.9999)
BFLOAT16 = Bounds(largest=0.1, mean=0.02, loss=0.01, gradient=0.15, cosine=0.99)


@dataclass(frozen=True)
class Computed:
    """What a model makes of a batch. logprobs: float32 [B, T] on the CPU; gradient: float32, of each parameter, on
    the device of the model."""

    logprobs: Tensor
    loss: float
    gradient: list[Tensor]


def measure(setup: Setup) -> Iterator[Measurement]:
    cfg = setup.config(f"model.max_prompt_tokens={PROMPT}", f"model.max_completion_tokens={COMPLETION}")
    model = load_model(setup.random_model(setup.model), "float32", packed=True)
    batch = random_batch(cfg.model, model.config.vocab_size, ROWS)
    with torch.no_grad():
        batch = with_old_logprobs(batch, completion_logprobs(model, batch, cfg.algorithm.sampling.temperature)[0])
    on_cpu, seconds = setup.timed(lambda: compute(model, batch, cfg.algorithm, torch.float32))
    yield Measurement("float32 on the CPU: forward and backward", seconds, "s")
    model.to(setup.device)
    in_float32 = compute(model, batch, cfg.algorithm, torch.float32)
    yield from differences("device - CPU", in_float32, on_cpu, FLOAT32)
    in_bfloat16 = compute(model, batch, cfg.algorithm, torch.bfloat16)
    yield from differences("bfloat16 - float32", in_bfloat16, in_float32, BFLOAT16)


def compute(model: Any, batch: Batch, algorithm: AlgorithmConfig, dtype: torch.dtype) -> Computed:
    """One forward and backward pass over a model with float32 weights, as the actor makes it."""
    device = model.device
    part = batch.to(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logprobs, entropy = completion_logprobs(model, part, algorithm.sampling.temperature)
    losses, _ = token_losses(ppo_loss, part, logprobs, entropy, algorithm.loss, algorithm.kl, algorithm.correction)
    weights = token_weights(part.loss_mask, algorithm.loss.aggregation, COMPLETION)
    loss = (weights * losses).sum()
    loss.backward()
    gradient = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    return Computed(logprobs.detach().cpu(), loss.item(), gradient)


def differences(name: str, one: Computed, other: Computed, bounds: Bounds) -> Iterator[Measurement]:
    gap = (one.logprobs - other.logprobs).abs()
    largest, mean = float(gap.max()), float(gap.mean())
    yield Measurement(f"{name}: log-probabilities, largest", largest, "nats", passed=largest < bounds.largest)
    yield Measurement(f"{name}: log-probabilities, mean", mean, "nats", passed=mean < bounds.mean)
    loss = abs(one.loss - other.loss)
    yield Measurement(f"{name}: loss", loss, passed=loss < bounds.loss)
    gradient, cosine = relative_difference(one.gradient, other.gradient), cosine_of(one.gradient, other.gradient)
    yield Measurement(f"{name}: gradient, relative", gradient, passed=gradient < bounds.gradient)
    yield Measurement(f"{name}: gradient, cosine", cosine, passed=cosine > bounds.cosine)


def relative_difference(one: list[Tensor], other: list[Tensor]) -> float:
    """|one - other| / |other|, over all tensors together."""
    change = sum(float((a - b.to(a.device)).double().square().sum()) for a, b in zip(one, other, strict=True))
    return (change / dot(other, other)) ** 0.5


def cosine_of(one: list[Tensor], other: list[Tensor]) -> float:
    return dot(one, other) / (dot(one, one) * dot(other, other)) ** 0.5


def dot(one: list[Tensor], other: list[Tensor]) -> float:
    return sum(float((a.double() * b.to(a.device).double()).sum()) for a, b in zip(one, other, strict=True))

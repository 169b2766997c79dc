"""A batch of random tokens."""

from dataclasses import replace

import torch
from torch import Tensor

from conf.workers import ModelConfig
from grpo.grpo import Batch
from tools.planner.trace import full_batch

NOISE = 0.1  # within the clipping range, so that rounding does not decide which tokens are clipped


def random_batch(model: ModelConfig, vocabulary: int, rows: int) -> Batch:
    """`rows` completions, an even number, with prompts and completions at their length limits. Half of them have the
    advantage 1, the others -1."""
    generator = torch.Generator().manual_seed(0)
    batch = full_batch(model, rows)
    ids = torch.randint(vocabulary, batch.input_ids.shape, generator=generator)
    signs = torch.tensor([1.0, -1.0]).repeat(rows // 2)[:, None]
    return replace(batch, input_ids=ids, advantages=signs * batch.mask, old_logprobs=None, ref_logprobs=None)


def with_old_logprobs(batch: Batch, logprobs: Tensor) -> Batch:
    """Give the old policy and the reference log-probabilities close to `logprobs` [B, T], those of the model."""
    generator = torch.Generator().manual_seed(1)
    old, ref = (logprobs + NOISE * (2 * torch.rand(logprobs.shape, generator=generator) - 1) for _ in range(2))
    return replace(batch, old_logprobs=old, ref_logprobs=ref, behavior_logprobs=logprobs)

"""A batch of random tokens."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from conf.workers import ModelConfig
from grpo.grpo import Batch
from tools.planner.trace import full_batch

NOISE = 0.1  # within the clipping range, so that rounding does not decide which tokens are clipped


def random_batch(model: ModelConfig, vocabulary: int, rows: int) -> Batch:
    """`rows` completions, an even number, in groups of two, which share their prompt and have the advantages 1 and -1.
    Prompts and completions are at their length limits. The old policy and the reference are close to a model with
    random weights: all tokens are equally probable."""
    generator = torch.Generator().manual_seed(0)
    batch = full_batch(model, rows)
    ids = torch.randint(vocabulary, batch.input_ids.shape, generator=generator)
    ids[1::2, : model.max_prompt_tokens] = ids[::2, : model.max_prompt_tokens]
    advantages = torch.tensor([1.0, -1.0]).repeat(rows // 2)[:, None] * batch.mask
    uniform = torch.full(batch.mask.shape, -math.log(vocabulary))
    groups = torch.arange(rows) // 2
    return replace(
        batch, input_ids=ids, group_ids=groups, advantages=advantages, old_logprobs=uniform, ref_logprobs=uniform
    )


def with_old_logprobs(batch: Batch, logprobs: Tensor) -> Batch:
    """Give the old policy and the reference log-probabilities close to `logprobs` [B, T], those of the model."""
    generator = torch.Generator().manual_seed(1)
    old, ref = (logprobs + NOISE * (2 * torch.rand(logprobs.shape, generator=generator) - 1) for _ in range(2))
    return replace(batch, old_logprobs=old, ref_logprobs=ref, behavior_logprobs=logprobs)

"""Completions are drawn by the sampler, whose probabilities are not quite the trainer's: other kernels,
another precision. Weights that make up for it."""

import torch
from torch import Tensor

from grpo.settings import CorrectionConfig


def mismatch_weights(
    old_logprobs: Tensor, behavior_logprobs: Tensor, mask: Tensor, correction: CorrectionConfig
) -> Tensor:
    """What the loss of each token is multiplied by, [B, T], from
    mismatch_ratio = exp(old_logprobs - behavior_logprobs).

    level "token"     the token's own ratio
          "sequence"  the product of the completion's ratios, for each of its tokens
    mode  "truncate"  min(ratio, high), truncated importance sampling
          "mask"      the ratio where low <= ratio <= high, else 0, masked importance sampling
    """
    if correction.level == "none":
        return torch.ones_like(old_logprobs)
    gap = (old_logprobs - behavior_logprobs) * mask
    if correction.level == "sequence":
        gap = gap.sum(dim=1, keepdim=True).expand_as(gap)
    ratio = torch.exp(gap)
    if correction.mode == "truncate":
        return ratio.clamp(max=correction.high)
    return ratio * ((ratio >= correction.low) & (ratio <= correction.high))

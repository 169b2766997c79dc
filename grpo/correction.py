"""Importance weights for the mismatch between the sampler's and the trainer's probabilities, which differ because
kernels and precision differ."""

import torch
from torch import Tensor

from grpo.settings import CorrectionConfig


def mismatch_weights(
    old_logprobs: Tensor, behavior_logprobs: Tensor, mask: Tensor, correction: CorrectionConfig
) -> Tensor:
    """Weights for the loss of each token, [B, T], from mismatch_ratio = exp(old_logprobs - behavior_logprobs).

    level "none"      1 for every token
          "token"     the ratio of the token
          "sequence"  the product of the completion's ratios, for each of its tokens
    mode  "truncate"  min(ratio, high), truncated importance sampling
          "mask"      the ratio if low <= ratio <= high, otherwise 0, masked importance sampling
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

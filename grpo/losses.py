"""The GRPO loss, as pure functions of per-token tensors.

Shapes: B completions, T tokens; every tensor is [B, T] but `advantages`, which is [B].
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossTerms:
    """Per-token loss [B, T] with gradient, and what is worth watching, without."""

    loss: Tensor
    policy_ratio: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    kl: Tensor


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    ref_logprobs: Tensor | None,
    clip_low: float,
    clip_high: float,
    kl_coef: float,
) -> LossTerms:
    """DeepSeekMath (arXiv 2402.03300) equation 3, per token, with the sign turned to a loss:

        ratio = exp(logprobs - old_logprobs)
        loss  = -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A) + kl_coef * KL

    with KL by the k3 estimator (equation 4): exp(ref - logprobs) - (ref - logprobs) - 1.
    `clip_high` apart from `clip_low` is DAPO's (arXiv 2503.14476); the paper has both 0.2.
    `ref_logprobs` None switches the KL off.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    weight = advantages[:, None]
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    policy_loss = -torch.minimum(ratio * weight, clipped * weight)
    kl = torch.zeros_like(logprobs) if ref_logprobs is None else k3(logprobs, ref_logprobs)
    return LossTerms(
        loss=policy_loss + kl_coef * kl,
        policy_ratio=ratio.detach(),
        clipped_low=(ratio < 1 - clip_low) & (weight < 0),
        clipped_high=(ratio > 1 + clip_high) & (weight > 0),
        kl=kl.detach(),
    )


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference), never negative."""
    difference = ref_logprobs - logprobs
    return torch.exp(difference) - difference - 1


AGGREGATIONS = ("token", "sequence", "constant")


def token_weights(mask: Tensor, aggregation: str, max_tokens: int) -> Tensor:
    """Weights [B, T] over the whole batch: the loss is (weights * per-token loss).sum().

    They are made before the batch is cut, so that micro-batches, whatever their number, add up to
    the same loss.
      "token"     every token of the batch counts the same (DAPO, arXiv 2503.14476, equation 8)
      "sequence"  every completion counts the same (DeepSeekMath, arXiv 2402.03300, equation 3)
      "constant"  every token counts the same in every batch, 1 / (B * max_tokens), so that no length
                  is favoured (Dr. GRPO, arXiv 2503.20783, section 3.1)
    """
    if aggregation == "token":
        return mask.float() / mask.sum()
    if aggregation == "constant":
        return mask.float() / (mask.shape[0] * max_tokens)
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return mask.float() / lengths / mask.shape[0]

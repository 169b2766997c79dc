"""The distance from the reference, estimated from the tokens that were sampled: Schulman, "Approximating
KL Divergence" (2020), with x = logprobs - ref_logprobs of a token drawn from the policy."""

import torch
from torch import Tensor

from grpo.batching import Batch
from grpo.settings import KlConfig


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: str) -> Tensor:
    """An estimate of KL(policy || reference) for each token; any shape, the same for both.

    "k1"  x: right on average, as often negative as positive
    "k2"  x^2 / 2: biased; its gradient is that of the KL on average
    "k3"  exp(-x) + x - 1: right on average, never negative (DeepSeekMath, arXiv 2402.03300, equation 4)
    """
    x = logprobs - ref_logprobs
    if estimator == "k1":
        return x
    return x.square() / 2 if estimator == "k2" else torch.exp(-x) + x - 1


def kl_loss(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, kl: KlConfig) -> Tensor:
    """The estimate per token [B, T], with gradient.

    Weighed by the policy ratio where `kl.unbiased` (DeepSeek-V3.2, arXiv 2512.02556, section 3.1): an
    estimate that is right on average does not have the right gradient, because the tokens would be
    drawn otherwise too; the ratio's own gradient makes up for that.
    """
    estimate = kl_estimate(logprobs, ref_logprobs, kl.estimator)
    return torch.exp(logprobs - old_logprobs) * estimate if kl.unbiased else estimate


def kl_penalty(batch: Batch, kl: KlConfig) -> Tensor:
    """What each token takes off the reward, float64 [B, T]; 0 where the KL is not in the reward."""
    if kl.coef == 0 or kl.apply_to == "loss":
        return torch.zeros(batch.mask.shape, dtype=torch.float64)
    assert batch.old_logprobs is not None and batch.ref_logprobs is not None
    estimate = kl_estimate(batch.old_logprobs.double(), batch.ref_logprobs.double(), kl.estimator)
    return kl.coef * estimate * batch.mask

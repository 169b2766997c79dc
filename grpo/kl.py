"""The KL divergence from the reference policy, estimated from sampled tokens: Schulman, "Approximating KL Divergence"
(2020), with x = logprobs - ref_logprobs of a token that the policy sampled."""

import torch
from torch import Tensor

from grpo.settings import KlConfig


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: str) -> Tensor:
    """An estimate of KL(policy || reference) for each token; both inputs have the same shape.

    "k1"  x: unbiased, negative for many tokens
    "k2"  x^2 / 2: biased; the expectation of its gradient is the gradient of the KL
    "k3"  exp(-x) + x - 1: unbiased, never negative (DeepSeekMath, arXiv 2402.03300, equation 4)
    """
    x = logprobs - ref_logprobs
    if estimator == "k1":
        return x
    return x.square() / 2 if estimator == "k2" else torch.exp(-x) + x - 1


def kl_loss(logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, kl: KlConfig) -> Tensor:
    """The estimate per token [B, T], with gradient.

    With `kl.unbiased` it is weighted by the policy ratio (DeepSeek-V3.2, arXiv 2512.02556, section 3.1): the gradient
    of an unbiased estimate is biased, because the distribution of the sampled tokens depends on the policy too; the
    gradient of the ratio corrects that.
    """
    estimate = kl_estimate(logprobs, ref_logprobs, kl.estimator)
    return torch.exp(logprobs - old_logprobs) * estimate if kl.unbiased else estimate

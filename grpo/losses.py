"""The other policy losses of the GRPO family, as pure functions of per-token tensors; GRPO's own is in grpo/grpo.py.

Every tensor is [B, T], B completions of up to T tokens, and
    ratio = policy_ratio = exp(logprobs - old_logprobs),   A = advantages.
The papers maximize objectives; these are losses, so the sign is reversed. At ratio 1, in the first update of a step,
the gradient of each is -A times that of `logprobs`; they differ in the updates that follow. train_sft.py uses `nll`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from grpo.grpo import PolicyLoss, PolicyTerms, clipped_loss, ppo_loss
from grpo.settings import LossConfig


def reinforce_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig
) -> PolicyTerms:
    """REINFORCE, as RLOO uses it (arXiv 2402.14740): loss = -ratio A, never clipped.

    On policy its gradient is the paper's, -A grad log pi. The ratio corrects each token if a step makes several
    updates.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    never = torch.zeros_like(mask)
    return PolicyTerms(-ratio * advantages, ratio.detach(), never, never)


def gspo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """GSPO (arXiv 2507.18071) equations 5 and 7: ppo_loss with a single ratio per completion o,

        s = exp(sum_t (logprobs - old_logprobs) / |o|),

    the geometric mean of its tokens' ratios. Each token gets the completion's loss.
    """
    ratio = torch.exp(_mean_over_completion(logprobs - old_logprobs, mask)).expand_as(logprobs)
    return clipped_loss(ratio, advantages, 1 - cfg.clip_low, 1 + cfg.clip_high)


def cispo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig
) -> PolicyTerms:
    """CISPO (MiniMax-M1, arXiv 2506.13585) equations 4 and 5: the importance weight is clipped instead of the update,

        loss = -stop_gradient(clip(ratio, 1 - clip_low, 1 + clip_high)) A logprobs,

    so every token keeps a gradient. The paper clips only from above: clip_low = 1.
    """
    ratio = torch.exp(logprobs - old_logprobs).detach()
    low, high = 1 - cfg.clip_low, 1 + cfg.clip_high
    return PolicyTerms(-ratio.clamp(low, high) * advantages * logprobs, ratio, ratio < low, ratio > high)


def sapo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """SAPO (arXiv 2511.20347): a smooth gate instead of clipping,

        loss = -4 / tau sigmoid(tau (ratio - 1)) A,   tau = tau_positive where A > 0, else tau_negative.

    The factor 4 gives the gate slope 1 at ratio 1.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    tau = torch.full_like(ratio, cfg.tau_negative).masked_fill(advantages > 0, cfg.tau_positive)
    never = torch.zeros_like(mask)
    return PolicyTerms(-4 / tau * torch.sigmoid(tau * (ratio - 1)) * advantages, ratio.detach(), never, never)


def gmpo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """GMPO (arXiv 2507.20673): the geometric mean of the tokens' clipped ratios,

        loss = -A exp(sum_t c_t / |o|),   c_t = min(x_t, clip_high) where A > 0, else max(x_t, -clip_low),

    with x_t = logprobs - old_logprobs. As in the paper, each token is clipped to (e^-0.4, e^0.4), on the side given by
    the sign of A, before the mean is taken. Each token gets the completion's loss.
    """
    x = logprobs - old_logprobs
    clipped = torch.where(advantages > 0, x.clamp(max=cfg.clip_high), x.clamp(min=-cfg.clip_low))
    ratio = torch.exp(_mean_over_completion(clipped, mask)).expand_as(x)
    low, high = (x < -cfg.clip_low) & (advantages < 0), (x > cfg.clip_high) & (advantages > 0)
    return PolicyTerms(-ratio * advantages, ratio.detach(), low, high)


def nll_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """The negative log-likelihood, loss = -A logprobs: supervised fine-tuning, whose advantages are the weights of the
    examples. With the advantages of rewards it is the policy gradient without a ratio."""
    never = torch.zeros_like(mask)
    return PolicyTerms(-advantages * logprobs, torch.exp(logprobs - old_logprobs).detach(), never, never)


def _mean_over_completion(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens of each completion, [B, 1]."""
    return (values * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)


# By the name in `algorithm.loss.name`.
POLICY_LOSSES: Mapping[str, PolicyLoss] = {
    "ppo": ppo_loss,
    "reinforce": reinforce_loss,
    "gspo": gspo_loss,
    "cispo": cispo_loss,
    "sapo": sapo_loss,
    "gmpo": gmpo_loss,
    "nll": nll_loss,
}

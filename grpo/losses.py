"""The losses of the GRPO family, as pure functions of per-token tensors.

Shapes: B completions, T tokens; every tensor is [B, T]. In all of them
    ratio = policy_ratio = exp(logprobs - old_logprobs),   A = advantages,
and the papers' objectives stand with their sign turned, as losses. At ratio 1, the first update of a
step, the gradient of each is -A times that of `logprobs`: they differ in what they do afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo.batching import Batch
from grpo.correction import mismatch_weights
from grpo.kl import kl_loss
from grpo.settings import CorrectionConfig, KlConfig, LossConfig


@dataclass(frozen=True)
class PolicyTerms:
    """Per-token loss with gradient; the ratio and where it was clipped, without."""

    loss: Tensor
    policy_ratio: Tensor
    clipped_low: Tensor
    clipped_high: Tensor


def ppo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """DeepSeekMath (arXiv 2402.03300) equation 3, without the KL:

        loss = -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

    `clip_high` apart from `clip_low` is DAPO's (arXiv 2503.14476, equation 10); GRPO has both 0.2.
    With `dual_clip` c, where A < 0: loss = min(loss, -c A) (dual clip, arXiv 1912.09729).
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return _clipped(ratio, advantages, 1 - cfg.clip_low, 1 + cfg.clip_high, cfg.dual_clip)


def reinforce_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig
) -> PolicyTerms:
    """REINFORCE, as RLOO uses it (arXiv 2402.14740): loss = -ratio A, never clipped.

    On policy its gradient is the paper's, -A grad log pi; the ratio keeps it right, token by token,
    when a step has several updates.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    never = torch.zeros_like(mask)
    return PolicyTerms(-ratio * advantages, ratio.detach(), never, never)


def gspo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """GSPO (arXiv 2507.18071) equations 5 and 7: ppo_loss with one ratio a completion o,

        s = exp(sum_t (logprobs - old_logprobs) / |o|),

    the geometric mean of its tokens' ratios. Each token gets the completion's loss.
    """
    ratio = torch.exp(_mean_over_completion(logprobs - old_logprobs, mask)).expand_as(logprobs)
    return _clipped(ratio, advantages, 1 - cfg.clip_low, 1 + cfg.clip_high)


def cispo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig
) -> PolicyTerms:
    """CISPO (MiniMax-M1, arXiv 2506.13585) equations 4 and 5: the weight is clipped, not the update,

        loss = -stop_gradient(clip(ratio, 1 - clip_low, 1 + clip_high)) A logprobs,

    so that every token keeps a gradient. The paper clips above alone: clip_low = 1.
    """
    ratio = torch.exp(logprobs - old_logprobs).detach()
    low, high = 1 - cfg.clip_low, 1 + cfg.clip_high
    return PolicyTerms(-ratio.clamp(low, high) * advantages * logprobs, ratio, ratio < low, ratio > high)


def sapo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """SAPO (arXiv 2511.20347): a smooth gate in place of the clip,

        loss = -4 / tau sigmoid(tau (ratio - 1)) A,   tau = tau_positive where A > 0, else tau_negative.

    The factor 4 makes the gate's slope 1 at ratio 1.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    tau = torch.full_like(ratio, cfg.tau_negative).masked_fill(advantages > 0, cfg.tau_positive)
    never = torch.zeros_like(mask)
    return PolicyTerms(-4 / tau * torch.sigmoid(tau * (ratio - 1)) * advantages, ratio.detach(), never, never)


def gmpo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """GMPO (arXiv 2507.20673): the geometric mean of the tokens' clipped ratios,

        loss = -A exp(sum_t c_t / |o|),   c_t = min(x_t, clip_high) where A > 0, else max(x_t, -clip_low),

    with x_t = logprobs - old_logprobs: the paper's clip to (e^-0.4, e^0.4), one-sided by the sign of A,
    before the mean is taken. Each token gets the completion's loss.
    """
    x = logprobs - old_logprobs
    clipped = torch.where(advantages > 0, x.clamp(max=cfg.clip_high), x.clamp(min=-cfg.clip_low))
    ratio = torch.exp(_mean_over_completion(clipped, mask)).expand_as(x)
    low, high = (x < -cfg.clip_low) & (advantages < 0), (x > cfg.clip_high) & (advantages > 0)
    return PolicyTerms(-ratio * advantages, ratio.detach(), low, high)


POLICY_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, LossConfig], PolicyTerms]] = {
    "ppo": ppo_loss,
    "reinforce": reinforce_loss,
    "gspo": gspo_loss,
    "cispo": cispo_loss,
    "sapo": sapo_loss,
    "gmpo": gmpo_loss,
}


def token_losses(
    batch: Batch, logprobs: Tensor, entropy: Tensor, loss: LossConfig, kl: KlConfig, correction: CorrectionConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss of each token [B, T], with gradient, and what is worth watching, without:

    correction * policy loss + kl.coef * KL (where it is in the loss) - entropy_coef * entropy
    """
    assert batch.old_logprobs is not None and batch.advantages is not None
    terms = POLICY_LOSSES[loss.name](logprobs, batch.old_logprobs, batch.advantages, batch.mask, loss)
    weights = mismatch_weights(batch.old_logprobs, batch.behavior_logprobs, batch.mask, correction)
    total = weights * terms.loss - loss.entropy_coef * entropy
    distance = torch.zeros_like(logprobs)
    if batch.ref_logprobs is not None:
        distance = kl_loss(logprobs, batch.old_logprobs, batch.ref_logprobs, kl)
        if kl.apply_to == "loss":
            total = total + kl.coef * distance
    watched = {
        "entropy": entropy,
        "kl": distance,
        "clip_low": terms.clipped_low,
        "clip_high": terms.clipped_high,
        "policy_ratio": terms.policy_ratio,
        "correction": weights,
    }
    return total, {name: values.detach() for name, values in watched.items()}


def token_weights(loss_mask: Tensor, aggregation: str, max_tokens: int) -> Tensor:
    """Weights [B, T] over the whole batch: the loss is (weights * per-token loss).sum().

    They are made before the batch is cut, so that micro-batches and ranks, whatever their number, add
    up to the same loss. loss_mask is bool, true on the tokens that carry loss.
      "token"     every token of the batch counts the same (DAPO, arXiv 2503.14476, equation 8)
      "sequence"  every completion with such tokens counts the same (DeepSeekMath, arXiv 2402.03300,
                  equation 3)
      "constant"  every token counts the same in every batch, 1 / (B * max_tokens), so that no length
                  is favoured (Dr. GRPO, arXiv 2503.20783, section 3.1)
    """
    if aggregation == "token":
        return loss_mask.float() / loss_mask.sum().clamp(min=1)
    if aggregation == "constant":
        return loss_mask.float() / (loss_mask.shape[0] * max_tokens)
    lengths = loss_mask.sum(dim=1, keepdim=True)
    return loss_mask.float() / lengths.clamp(min=1) / (lengths > 0).sum().clamp(min=1)


def _clipped(ratio: Tensor, advantages: Tensor, low: float, high: float, dual_clip: float | None = None) -> PolicyTerms:
    loss = -torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    clipped_low, clipped_high = (ratio < low) & (advantages < 0), (ratio > high) & (advantages > 0)
    return PolicyTerms(loss, ratio.detach(), clipped_low, clipped_high)


def _mean_over_completion(values: Tensor, mask: Tensor) -> Tensor:
    """[B, 1], over the completion's own tokens."""
    return (values * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)

"""The other advantages of the GRPO family; GRPO's own are in grpo/grpo.py."""

from collections.abc import Callable, Mapping, Sequence
from math import comb

import torch
from torch import Tensor

from grpo.grpo import Batch, center, group_advantages, normalize, root_mean_square
from grpo.kl import kl_estimate
from grpo.settings import AdvantageConfig, KlConfig
from grpo.types import Group


def component_advantages(
    groups: Sequence[Group], cfg: AdvantageConfig, component_weights: Mapping[str, float]
) -> Tensor:
    """GDPO (arXiv 2601.05242): normalize each component of the reward by itself, add them up by `component_weights`,
    and divide by their root mean square over the batch, so that the number of components does not change the size of
    a step. Float64 [B]."""
    parts = []
    for name, weight in component_weights.items():
        values = [[rollout.score.components.get(name, 0.0) for rollout in group.rollouts] for group in groups]
        parts.append(weight * normalize([torch.tensor(row, dtype=torch.float64) for row in values], cfg))
    total = torch.stack(parts).sum(dim=0)
    return total / (root_mean_square(total) + cfg.epsilon)


def pass_at_k_advantages(
    groups: Sequence[Group], cfg: AdvantageConfig, component_weights: Mapping[str, float]
) -> Tensor:
    """`pass_at_k_group` of each group, whatever the rewards. Float64 [B]."""
    return torch.cat([pass_at_k_group([r.score.correct for r in group.rollouts], cfg.k) for group in groups])


def pass_at_k_group(correct: Sequence[bool], k: int) -> Tensor:
    """Pass@k training (arXiv 2508.10751) in closed form: a set of k completions earns 1 if one of them is correct,
    and a completion gets the mean advantage of the sets that contain it. With N completions, W of them wrong, the mean
    reward of all sets M = 1 - C(W, k) / C(N, k) and its spread S = sqrt(M (1 - M)):

        correct: (1 - M) / S,   wrong: (1 - M - C(W - 1, k - 1) / C(N - 1, k - 1)) / S

    Returns: float64 [N], all 0 if all sets earn the same.
    """
    n, wrong = len(correct), sum(not one for one in correct)
    mean = 1 - comb(wrong, k) / comb(n, k)
    if mean in (0, 1):
        return torch.zeros(n, dtype=torch.float64)
    spread = (mean * (1 - mean)) ** 0.5
    right = (1 - mean) / spread
    failed = (1 - mean - comb(wrong - 1, k - 1) / comb(n - 1, k - 1)) / spread
    return torch.tensor([right if one else failed for one in correct], dtype=torch.float64)


# By the name in `algorithm.advantage.of`.
ADVANTAGES: Mapping[str, Callable[[Sequence[Group], AdvantageConfig, Mapping[str, float]], Tensor]] = {
    "rewards": group_advantages,
    "components": component_advantages,
    "pass_at_k": pass_at_k_advantages,
}


def kl_penalized_advantages(batch: Batch, cfg: AdvantageConfig, kl: KlConfig) -> Tensor:
    """Advantages, float32 [B, T], when the KL to the reference is part of the reward.

    kl.apply_to "reward"        a completion's summed penalty is subtracted from its reward
                "reward_to_go"  each token's advantage pays for the penalties from there on
    """
    penalty = kl_penalty(batch, kl)
    if kl.apply_to == "reward_to_go":
        advantages = reward_to_go_advantages(batch.rewards, penalty, batch.loss_mask, cfg)
    else:
        sizes = batch.group_ids.bincount().tolist()
        advantages = normalize((batch.rewards - penalty.sum(dim=1)).split(sizes), cfg)[:, None]
    return (advantages * batch.mask).float()


def kl_penalty(batch: Batch, kl: KlConfig) -> Tensor:
    """What the KL of each token subtracts from the reward, float64 [B, T]."""
    if kl.coef == 0:
        return torch.zeros(batch.mask.shape, dtype=torch.float64)
    assert batch.old_logprobs is not None and batch.ref_logprobs is not None
    estimate = kl_estimate(batch.old_logprobs.double(), batch.ref_logprobs.double(), kl.estimator)
    return kl.coef * estimate * batch.mask


def reward_to_go_advantages(rewards: Tensor, penalty: Tensor, loss_mask: Tensor, cfg: AdvantageConfig) -> Tensor:
    """REINFORCE++ (arXiv 2501.03262): the return of each token, float64 [B, T],

        r - sum of the KL penalties of this and all later tokens,

    minus its mean over all loss tokens of the step, divided by its spread there ("batch_std") or not ("none").

    rewards [B], penalty [B, T] 0 outside the mask, loss_mask bool [B, T]
    """
    to_go = rewards[:, None] - penalty.flip(1).cumsum(1).flip(1)
    if not loss_mask.any():
        return torch.zeros_like(to_go)
    advantages = torch.zeros_like(to_go).masked_scatter(loss_mask, center(to_go[loss_mask]))
    if cfg.scale == "none":
        return advantages
    return advantages / (root_mean_square(advantages[loss_mask]) + cfg.epsilon)

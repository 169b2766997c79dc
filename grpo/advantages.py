"""From the rewards of a step to the advantage of each token."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb

import torch
from torch import Tensor

from grpo.batching import Batch
from grpo.kl import kl_penalty
from grpo.settings import AdvantageConfig, KlConfig
from grpo.types import Group


def with_advantages(
    batch: Batch, groups: Sequence[Group], cfg: AdvantageConfig, kl: KlConfig, weights: Mapping[str, float]
) -> Batch:
    """The batch with `advantages`, float32 [B, T], 0 outside the mask.

    The tokens of a completion share one, but for a KL in the reward to go. `weights` are those of the
    reward's components. The rows of the batch are the rollouts of `groups`, in order.
    """
    penalty = kl_penalty(batch, kl)
    if kl.apply_to == "reward_to_go":
        rewards = torch.tensor([reward for group in groups for reward in group.rewards], dtype=torch.float64)
        advantages = reward_to_go_advantages(rewards, penalty, batch.loss_mask, cfg)
    else:
        advantages = group_advantages(groups, cfg, penalty.sum(dim=1), weights)[:, None]
    return replace(batch, advantages=(advantages * batch.mask).float())


def group_advantages(
    groups: Sequence[Group], cfg: AdvantageConfig, penalties: Tensor | None = None, weights: Mapping[str, float] = {}
) -> Tensor:
    """One advantage a completion, float64 [sum of group sizes], group by group, for groups of any sizes.

    of "rewards"     of each reward, less its penalty
       "components"  GDPO (arXiv 2601.05242): each component is normalized by itself, they are added up by
                     the reward's weights, and divided by their spread over the batch, so that the number
                     of components does not change the size of a step
       "pass_at_k"   `pass_at_k_advantages`

    Raises: ValueError for a group with fewer than 2 rollouts, whose mean would say nothing.
    """
    for group in groups:
        if len(group.rollouts) < 2:
            raise ValueError(f"group size must be >= 2, got {len(group.rollouts)} for problem {group.problem.key!r}")
    sizes = [len(group.rollouts) for group in groups]
    if cfg.of == "pass_at_k":
        return torch.cat([pass_at_k_advantages([r.score.correct for r in group.rollouts], cfg.k) for group in groups])
    if cfg.of == "components":
        parts = []
        for name, weight in weights.items():
            values = [[rollout.score.components.get(name, 0.0) for rollout in group.rollouts] for group in groups]
            rows = [torch.tensor(row, dtype=torch.float64) for row in values]
            parts.append(weight * normalized(rows, cfg.baseline, cfg.scale, cfg.epsilon))
        total = torch.stack(parts).sum(dim=0)
        return total / (_root_mean_square(total) + cfg.epsilon)
    rewards = torch.tensor([reward for group in groups for reward in group.rewards], dtype=torch.float64)
    less = rewards if penalties is None else rewards - penalties
    return normalized(less.split(sizes), cfg.baseline, cfg.scale, cfg.epsilon)


def normalized(rewards: Sequence[Tensor], baseline: str, scale: str, epsilon: float) -> Tensor:
    """A_i = (r_i - baseline_i) / (scale_i + epsilon), float64, from the rewards of each group.

    baseline  "group_mean": DeepSeekMath (arXiv 2402.03300) section 4.1.2
              "leave_one_out": the mean of the group's others, RLOO (arXiv 2402.14740) equation 8;
              it is G / (G - 1) times the distance from the group mean
              "batch_mean": the mean over all rollouts of the step, REINFORCE++ (arXiv 2501.03262)
    scale     "group_std": the population's, over the group's rewards, DeepSeekMath
              "batch_std": over what is left of all rewards once the baseline is off, REINFORCE++
              "none": 1, as Dr. GRPO (arXiv 2503.20783) and RLOO have it; epsilon is not added
    """
    if baseline == "batch_mean":
        centred = list(_centred(torch.cat(list(rewards))).split([len(row) for row in rewards]))
    else:
        centred = [_centred(row) for row in rewards]
    if baseline == "leave_one_out":
        centred = [row * len(row) / (len(row) - 1) for row in centred]
    if scale == "group_std":
        centred = [row / (r.std(correction=0) + epsilon) for row, r in zip(centred, rewards, strict=True)]
    elif scale == "batch_std":
        spread = _root_mean_square(torch.cat(centred))
        centred = [row / (spread + epsilon) for row in centred]
    return torch.cat(centred)


def reward_to_go_advantages(rewards: Tensor, penalty: Tensor, loss_mask: Tensor, cfg: AdvantageConfig) -> Tensor:
    """REINFORCE++ (arXiv 2501.03262): what is still to come for a token, float64 [B, T],

        r - sum over this and later tokens of the KL penalty,

    less its mean over all loss tokens of the step, over its spread there ("batch_std") or not ("none").

    rewards [B], penalty [B, T] 0 outside the mask, loss_mask bool [B, T]
    """
    to_go = rewards[:, None] - penalty.flip(1).cumsum(1).flip(1)
    if not loss_mask.any():
        return torch.zeros_like(to_go)
    tokens = to_go[loss_mask]
    advantages = torch.zeros_like(to_go).masked_scatter(loss_mask, _centred(tokens))
    if cfg.scale == "none":
        return advantages
    return advantages / (_root_mean_square(advantages[loss_mask]) + cfg.epsilon)


def pass_at_k_advantages(correct: Sequence[bool], k: int) -> Tensor:
    """Pass@k training (arXiv 2508.10751), in closed form: a set of k completions earns 1 if one of them
    is correct, and a completion gets the mean advantage of the sets that it is in. With N completions, W
    wrong ones, and the reward's mean over all sets M = 1 - C(W, k) / C(N, k) and spread S = sqrt(M (1 - M)):

        right: (1 - M) / S,   wrong: (1 - M - C(W - 1, k - 1) / C(N - 1, k - 1)) / S

    Returns: float64 [N], all 0 where all sets earn the same.
    """
    n, wrong = len(correct), sum(not one for one in correct)
    mean = 1 - comb(wrong, k) / comb(n, k)
    if mean in (0, 1):
        return torch.zeros(n, dtype=torch.float64)
    spread = (mean * (1 - mean)) ** 0.5
    right = (1 - mean) / spread
    failed = (1 - mean - comb(wrong - 1, k - 1) / comb(n - 1, k - 1)) / spread
    return torch.tensor([right if one else failed for one in correct], dtype=torch.float64)


def _centred(rewards: Tensor) -> Tensor:
    """Without their mean. Equal rewards say nothing; their rounded mean must not say something."""
    return torch.zeros_like(rewards) if rewards.min() == rewards.max() else rewards - rewards.mean()


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()

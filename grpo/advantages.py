"""From the rewards of a step to advantages."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grpo.types import Group

BASELINES = ("group_mean", "leave_one_out", "batch_mean")
SCALES = ("group_std", "batch_std", "none")


def group_advantages(groups: Sequence[Group], baseline: str, scale: str, epsilon: float) -> Tensor:
    """A_i = (r_i - baseline_i) / (scale_i + epsilon), for groups of any sizes.

    baseline  "group_mean": DeepSeekMath (arXiv 2402.03300) section 4.1.2
              "leave_one_out": the mean of the group's others, RLOO (arXiv 2402.14740) equation 8;
              it is G / (G - 1) times the distance from the group mean
              "batch_mean": the mean over all rollouts of the step, REINFORCE++ (arXiv 2501.03262)
    scale     "group_std": the population's, over the group's rewards, DeepSeekMath
              "batch_std": over what is left of all rewards once the baseline is off, REINFORCE++
              "none": 1, as Dr. GRPO (arXiv 2503.20783) and RLOO have it; epsilon is not added

    Returns: float32 [sum of group sizes], group by group.
    Raises: ValueError for a group with fewer than 2 rollouts, whose mean would say nothing.
    """
    for group in groups:
        if len(group.rollouts) < 2:
            raise ValueError(f"group size must be >= 2, got {len(group.rollouts)} for problem {group.problem.key!r}")
    rewards = [torch.tensor(group.rewards, dtype=torch.float64) for group in groups]
    if baseline == "batch_mean":
        mean = torch.cat(rewards).mean()
        centred = [row - mean for row in rewards]
    else:
        centred = [_centred(row) for row in rewards]
    if baseline == "leave_one_out":
        centred = [row * len(row) / (len(row) - 1) for row in centred]
    if scale == "group_std":
        centred = [row / (r.std(correction=0) + epsilon) for row, r in zip(centred, rewards, strict=True)]
    elif scale == "batch_std":
        spread = torch.cat(centred).square().mean().sqrt()
        centred = [row / (spread + epsilon) for row in centred]
    return torch.cat(centred).float()


def _centred(rewards: Tensor) -> Tensor:
    """Without their mean. Equal rewards say nothing; their rounded mean must not say something."""
    return torch.zeros_like(rewards) if rewards.min() == rewards.max() else rewards - rewards.mean()

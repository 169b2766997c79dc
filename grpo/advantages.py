"""From the rewards of a group to advantages."""

from collections.abc import Sequence

import torch

from grpo.types import Group


def group_advantages(groups: Sequence[Group], scale_by_std: bool, epsilon: float) -> torch.Tensor:
    """Group-relative advantages, DeepSeekMath (arXiv 2402.03300) section 4.1.2:

        A_i = (r_i - mean(r)) / (std(r) + epsilon)

    The standard deviation is the population's, over the G rewards of the group. `scale_by_std`
    false leaves the division out, as Dr. GRPO (arXiv 2503.20783) does.

    Returns: float32 [P * G], group by group.
    Raises: ValueError for a group with fewer than 2 rollouts, whose mean would say nothing.
    """
    rows = []
    for group in groups:
        if len(group.rollouts) < 2:
            raise ValueError(f"group size must be >= 2, got {len(group.rollouts)} for problem {group.problem.key!r}")
        rewards = torch.tensor(group.rewards, dtype=torch.float64)
        # Equal rewards say nothing; their rounded mean must not say something.
        centred = torch.zeros_like(rewards) if rewards.min() == rewards.max() else rewards - rewards.mean()
        rows.append(centred / (rewards.std(correction=0) + epsilon) if scale_by_std else centred)
    return torch.cat(rows).float()

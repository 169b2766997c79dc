"""Choosing the groups that a step trains on."""

from collections.abc import Sequence

from grpo.types import Group


def has_reward_variance(group: Group) -> bool:
    """Whether the rewards differ. If they are all equal, every advantage within the group is 0."""
    return min(group.rewards) < max(group.rewards)


def replace_uniform_groups(groups: Sequence[Group], fresh: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Replace groups without reward variance by groups of `fresh` that have some, as far as those go.

    Returns: the groups to train on, and the discarded groups from both lists.
    """
    useful = [group for group in fresh if has_reward_variance(group)]
    uniform = [index for index, group in enumerate(groups) if not has_reward_variance(group)]
    kept, discarded = list(groups), [group for group in fresh if not has_reward_variance(group)]
    for index, group in zip(uniform, useful, strict=False):
        discarded.append(kept[index])
        kept[index] = group
    return kept, discarded + useful[len(uniform) :]


def select_by_pass_rate(trials: Sequence[Group], count: int) -> list[Group]:
    """The `count` groups whose pass rate is closest to one half, in their original order; of equally close groups the
    earlier ones. A problem that is solved sometimes has the most to teach (arXiv 2506.09016)."""

    def distance(index: int) -> float:
        rollouts = trials[index].rollouts
        return abs(sum(rollout.score.correct for rollout in rollouts) / len(rollouts) - 0.5)

    chosen = sorted(range(len(trials)), key=lambda index: (distance(index), index))[:count]
    return [trials[index] for index in sorted(chosen)]

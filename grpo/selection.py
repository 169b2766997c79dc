"""Which groups are worth training on."""

from collections.abc import Sequence

from grpo.types import Group


def has_reward_variance(group: Group) -> bool:
    """Its rewards are not all equal; if they are, every advantage within the group is 0."""
    return min(group.rewards) < max(group.rewards)


def replaced(groups: Sequence[Group], fresh: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """The groups with those of `fresh` that have a signal in the places of those that have none, as far
    as they go; and the groups that were left out, of both kinds."""
    useful = [group for group in fresh if has_reward_variance(group)]
    empty = [place for place, group in enumerate(groups) if not has_reward_variance(group)]
    kept, dropped = list(groups), [group for group in fresh if not has_reward_variance(group)]
    for place, group in zip(empty, useful, strict=False):
        dropped.append(kept[place])
        kept[place] = group
    return kept, dropped + useful[len(empty) :]


def select_by_pass_rate(trials: Sequence[Group], count: int) -> list[Group]:
    """The `count` groups whose share of correct completions is nearest to a half, the earlier of equals
    first, in their own order: a problem solved sometimes has most to teach (arXiv 2506.09016)."""

    def distance(place: int) -> float:
        rollouts = trials[place].rollouts
        return abs(sum(rollout.score.correct for rollout in rollouts) / len(rollouts) - 0.5)

    chosen = sorted(range(len(trials)), key=lambda place: (distance(place), place))[:count]
    return [trials[place] for place in sorted(chosen)]

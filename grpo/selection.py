"""Choosing the groups that a step trains on."""

from collections.abc import Callable, Mapping, Sequence

from grpo.advantages import ADVANTAGES
from grpo.settings import AdvantageConfig
from grpo.types import Group


def has_advantages(group: Group, cfg: AdvantageConfig, component_weights: Mapping[str, float]) -> bool:
    """Whether an advantage differs from 0 when the group is compared with itself alone. They are all 0 if what `cfg.of`
    names is equal in the whole group: the rewards, each of their components, or for pass@k the rewards of all sets."""
    return bool(ADVANTAGES[cfg.of]([group], cfg, component_weights).any())


def replace_uniform_groups(
    groups: Sequence[Group], fresh: Sequence[Group], is_useful: Callable[[Group], bool]
) -> tuple[list[Group], list[Group]]:
    """Replace groups that are not useful by groups of `fresh` that are, as far as those go.

    Returns: the groups to train on, and the discarded groups from both lists.
    """
    useful = [group for group in fresh if is_useful(group)]
    uniform = [index for index, group in enumerate(groups) if not is_useful(group)]
    kept, discarded = list(groups), [group for group in fresh if not is_useful(group)]
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

"""How often a model reflects and whether it helps: the behaviours of many completions as metrics."""

from collections.abc import Iterator, Sequence

from envs.behaviors import SHOWN, Behaviors
from envs.env import Env
from grpo.types import Group
from rewards.scripts import mixes_scripts
from rewards.tags import read_tags

GroupBehaviors = Sequence[Sequence[Behaviors]]  # for each group, one per rollout


def read_groups(env: Env, groups: Sequence[Group]) -> list[list[Behaviors]]:
    """Read the behaviours of every completion, once for all metrics and samples."""
    return [[env.read_behaviors(g.problem, rollout.completion.text) for rollout in g.rollouts] for g in groups]


def mean_tries(behaviors: GroupBehaviors) -> float | None:
    """Attempts per completion, over the completions of tasks with a trace language; None if there are none."""
    return _mean([read.tries for group in behaviors for read in group if read.tries is not None])


def reflection_metrics(groups: Sequence[Group], behaviors: GroupBehaviors, prefix: str) -> dict[str, float]:
    """Metrics over all completions of `groups`. A metric whose denominator would be 0 is omitted.

    n                                  number of completions
    verification ... waits             share of completions that show it (SHOWN)
    tries                              attempts per completion, of tasks with a trace language
    arithmetic                         share of equations that are true
    copying                            share of attempts that use each given number once
    decorative                         share of the verdicts "yes" on attempts that do not reach the target
    mixed_scripts                      share of completions whose thought has words in two scripts or more
    length_right, length_wrong         tokens per correct and per incorrect completion
    accuracy_with, accuracy_without    accuracy of completions that verify or backtrack, and of all others
    gain_same_problem                  the difference of the two on the same problem, averaged over problems that
                                       have both kinds of completions
    accuracy_with_backtracking, accuracy_without_backtracking, gain_backtracking
                                       the same, for backtracking only
    """
    shown = [read for group in behaviors for read in group]
    metrics: dict[str, float | None] = {name: _mean([getattr(read, name) for read in shown]) for name in SHOWN}
    metrics["n"] = len(shown)
    metrics["tries"] = mean_tries(behaviors)
    metrics["arithmetic"] = _share([read.true_equations for read in shown], [read.equations for read in shown])
    metrics["copying"] = _share([read.copied for read in shown], [read.tries or 0 for read in shown])
    metrics["decorative"] = _share([read.decorative for read in shown], [read.verdicts_yes for read in shown])
    metrics["mixed_scripts"] = _mean([mixes_scripts(thought) for thought in _thoughts(groups)])
    metrics["length_right"] = _mean(list(_lengths(groups, True)))
    metrics["length_wrong"] = _mean(list(_lengths(groups, False)))
    correct = [[rollout.score.correct for rollout in group.rollouts] for group in groups]
    reflects = [[read.reflects for read in group] for group in behaviors]
    accuracy_with, accuracy_without, gain = _compare(reflects, correct)
    metrics |= {"accuracy_with": accuracy_with, "accuracy_without": accuracy_without, "gain_same_problem": gain}
    backtracks = [[read.backtracking for read in group] for group in behaviors]
    accuracy_with, accuracy_without, gain = _compare(backtracks, correct)
    metrics |= {"accuracy_with_backtracking": accuracy_with, "accuracy_without_backtracking": accuracy_without}
    metrics["gain_backtracking"] = gain
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items() if value is not None}


def _compare(
    shows: Sequence[Sequence[bool]], correct: Sequence[Sequence[bool]]
) -> tuple[float | None, float | None, float | None]:
    """Accuracy of the completions that show a behaviour, accuracy of the others, and the mean of their difference
    over groups with both kinds. `shows` and `correct` have one value per rollout of each group."""

    def accuracy(completions: Sequence[tuple[bool, bool]], wanted: bool) -> float | None:
        return _mean([is_correct for shown, is_correct in completions if shown == wanted])

    groups = [list(zip(*pair, strict=True)) for pair in zip(shows, correct, strict=True)]
    gains: list[float] = []
    for group in groups:
        accuracy_with, accuracy_without = accuracy(group, True), accuracy(group, False)
        if accuracy_with is not None and accuracy_without is not None:
            gains.append(accuracy_with - accuracy_without)
    everything = [completion for group in groups for completion in group]
    return accuracy(everything, True), accuracy(everything, False), _mean(gains)


def _thoughts(groups: Sequence[Group]) -> list[str]:
    return [read_tags(rollout.completion.text).thought for group in groups for rollout in group.rollouts]


def _lengths(groups: Sequence[Group], correct: bool) -> Iterator[int]:
    for group in groups:
        for rollout in group.rollouts:
            if rollout.score.correct == correct:
                yield len(rollout.completion.token_ids)


def _share(parts: Sequence[int], totals: Sequence[int]) -> float | None:
    return sum(parts) / sum(totals) if sum(totals) else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

"""How much a model reflects, and whether it helps: the behaviours of many completions as flat numbers."""

from collections.abc import Iterator, Sequence

from envs.behaviors import SHOWN, read_behaviors
from grpo.types import Group


def reflection_metrics(groups: Sequence[Group], prefix: str) -> dict[str, float]:
    """Metrics over all completions of `groups`. What has no completion, try, equation or verdict to be
    counted over is left out, so that no number is made up.

    n                                  completions
    verification ... waits             share of completions that show it (SHOWN)
    tries                              tries a completion
    arithmetic                         share of equations that are true
    copying                            share of tries that use the given numbers, each once
    decorative                         share of the verdicts "yes" that stand at no hit
    length_right, length_wrong         tokens of a correct and of a wrong completion
    accuracy_with, accuracy_without    share correct of those that reflect (verify or backtrack) and of the others
    gain_same_problem                  the former minus the latter on the same problem, mean over the
                                       problems that have both
    accuracy_with_backtracking, accuracy_without_backtracking, gain_backtracking
                                       the same, for backtracking alone
    """
    read = [[read_behaviors(g.problem.env, g.problem.fields, r.completion.text) for r in g.rollouts] for g in groups]
    seen = [[(one, r.score.correct) for one, r in zip(ones, g.rollouts)] for ones, g in zip(read, groups)]
    shown = [one for ones in read for one in ones]
    metrics: dict[str, float | None] = {name: _mean([getattr(one, name) for one in shown]) for name in SHOWN}
    metrics["n"] = len(shown)
    metrics["tries"] = _mean([one.tries for one in shown])
    metrics["arithmetic"] = _share([one.true_equations for one in shown], [one.equations for one in shown])
    metrics["copying"] = _share([one.copied for one in shown], [one.tries for one in shown])
    metrics["decorative"] = _share([one.decorative for one in shown], [one.verdicts_yes for one in shown])
    metrics["length_right"] = _mean(list(_lengths(groups, True)))
    metrics["length_wrong"] = _mean(list(_lengths(groups, False)))
    with_it, without, gain = _compare([[(one.reflects, right) for one, right in group] for group in seen])
    metrics |= {"accuracy_with": with_it, "accuracy_without": without, "gain_same_problem": gain}
    with_it, without, gain = _compare([[(one.backtracking, right) for one, right in group] for group in seen])
    metrics |= {"accuracy_with_backtracking": with_it, "accuracy_without_backtracking": without}
    metrics["gain_backtracking"] = gain
    return {f"{prefix}/{name}": float(value) for name, value in metrics.items() if value is not None}


def _compare(groups: Sequence[Sequence[tuple[bool, bool]]]) -> tuple[float | None, float | None, float | None]:
    """Accuracy with, accuracy without, and their mean difference over groups that have both, of
    (shows it, is correct) a completion."""

    def accuracy(completions: Sequence[tuple[bool, bool]], shows: bool) -> float | None:
        return _mean([right for shown, right in completions if shown == shows])

    gains: list[float] = []
    for group in groups:
        with_it, without = accuracy(group, True), accuracy(group, False)
        if with_it is not None and without is not None:
            gains.append(with_it - without)
    everything = [completion for group in groups for completion in group]
    return accuracy(everything, True), accuracy(everything, False), _mean(gains)


def _lengths(groups: Sequence[Group], right: bool) -> Iterator[int]:
    for group in groups:
        for rollout in group.rollouts:
            if rollout.score.correct == right:
                yield len(rollout.completion.token_ids)


def _share(parts: Sequence[int], wholes: Sequence[int]) -> float | None:
    return sum(parts) / sum(wholes) if sum(wholes) else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

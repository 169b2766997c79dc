"""Held-out accuracy: exact correctness, sampled and greedy."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from envs.behaviors import BEHAVIORS
from envs.score import Scorer
from grpo.types import Completion, Group, Problem
from rewards.behavior_judge import BehaviorJudge, Judged
from run.metrics import metrics_by_env
from run.reflection import GroupBehaviors, mean_tries, reflection_metrics

Generate = Callable[[Sequence[Problem], float], Iterable[tuple[int, Completion]]]


@dataclass(frozen=True)
class Evaluation:
    """`greedy` is empty for an interim evaluation; `judged` is what a judge saw in the first of `sampled`,
    None where it failed, and empty without a judge."""

    sampled: list[Group]
    greedy: list[Group]
    judged: Sequence[Judged | None] = ()

    def metrics(self, behaviors: GroupBehaviors) -> dict[str, float]:
        """The metrics of this evaluation, given the behaviours of `sampled`. `eval/tries` is absent for tasks
        without a trace language."""
        lengths = [len(group.rollouts[0].completion.token_ids) for group in self.sampled]
        named = {
            "eval/sampled": accuracy(self.sampled),
            "eval/n": float(len(self.sampled)),
            "eval/length": sum(lengths) / len(lengths),
            "eval/errors": float(sum(group.rollouts[0].score.error is not None for group in self.sampled)),
        }
        if (tries := mean_tries(behaviors)) is not None:
            named["eval/tries"] = tries
        named |= metrics_by_env(self.sampled, "eval")
        named |= reflection_metrics(self.sampled, behaviors, "eval_reflection")
        named |= judge_metrics(self.judged)
        return named | ({"eval/greedy": accuracy(self.greedy)} if self.greedy else {})


def evaluate(
    generate: Generate,
    scorer: Scorer,
    problems: Sequence[Problem],
    greedy: bool,
    judge: BehaviorJudge | None = None,
    judged_completions: int = 0,
) -> Evaluation:
    """One completion a problem at temperature 1, and one greedy where asked for."""
    sampled = scorer.score(problems, generate(problems, 1.0))
    texts = [group.rollouts[0].completion.text for group in sampled[:judged_completions]]
    return Evaluation(
        sampled=sampled,
        greedy=scorer.score(problems, generate(problems, 0.0)) if greedy else [],
        judged=judge.review(texts) if judge is not None else (),
    )


def judge_metrics(judged: Sequence[Judged | None]) -> dict[str, float]:
    """The share of completions in which the judge saw each behaviour, and of those that it failed on."""
    if not judged:
        return {}
    read = [one for one in judged if one is not None]
    named = {"eval_judge/failed": 1 - len(read) / len(judged)}
    if read:
        named |= {f"eval_judge/{name}": sum(getattr(one, name) for one in read) / len(read) for name in BEHAVIORS}
    return named


def accuracy(groups: Sequence[Group]) -> float:
    """The share of rollouts that are exactly correct."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return sum(rollout.score.correct for rollout in rollouts) / len(rollouts)

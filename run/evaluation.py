"""Held-out accuracy: the share of exactly correct completions, sampled and greedy."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from envs.behaviors import BEHAVIORS
from envs.score import Scorer
from grpo.types import Completion, Group, Problem
from rewards.behavior_judge import Judged
from run.metrics import metrics_by_env, num_errors
from run.reflection import GroupBehaviors, mean_tries, reflection_metrics

Generate = Callable[[Sequence[Problem], float], Iterable[tuple[int, Completion]]]


@dataclass(frozen=True)
class Evaluation:
    """Scored completions of held-out problems, one group of a single rollout per problem.

    sampled  at temperature 1
    greedy   at temperature 0; empty for an interim evaluation
    judged   the judge's verdicts on the first of `sampled`, None where it failed; empty without a judge
    """

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
            "eval/errors": float(num_errors([*self.sampled, *self.greedy])),
        }
        if (tries := mean_tries(behaviors)) is not None:
            named["eval/tries"] = tries
        named |= metrics_by_env(self.sampled, "eval")
        named |= reflection_metrics(self.sampled, behaviors, "eval_reflection")
        named |= judge_metrics(self.judged)
        return named | ({"eval/greedy": accuracy(self.greedy)} if self.greedy else {})


def evaluate(generate: Generate, scorer: Scorer, problems: Sequence[Problem], greedy: bool) -> Evaluation:
    """Generate and score one completion per problem at temperature 1 and, if `greedy`, another at temperature 0.

    generate  (problems, temperature) -> (problem index, completion) in any order
    """
    return Evaluation(
        sampled=scorer.score(problems, generate(problems, 1.0)),
        greedy=scorer.score(problems, generate(problems, 0.0)) if greedy else [],
    )


def judge_metrics(judged: Sequence[Judged | None]) -> dict[str, float]:
    """The share of completions in which the judge found each behaviour, and the share on which it failed."""
    if not judged:
        return {}
    labels = [label for label in judged if label is not None]
    named = {"eval_judge/failed": 1 - len(labels) / len(judged)}
    if labels:
        named |= {
            f"eval_judge/{name}": sum(getattr(label, name) for label in labels) / len(labels) for name in BEHAVIORS
        }
    return named


def accuracy(groups: Sequence[Group]) -> float:
    """The share of exactly correct rollouts, 0..1."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return sum(rollout.score.correct for rollout in rollouts) / len(rollouts)

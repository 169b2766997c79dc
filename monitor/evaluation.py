"""Held-out accuracy: exact correctness, sampled and greedy."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from envs.score import Scorer
from grpo.types import Completion, Group, Problem
from monitor.metrics import mean_tries, metrics_by_env

Generate = Callable[[Sequence[Problem], float], Iterable[tuple[int, Completion]]]


@dataclass(frozen=True)
class Evaluation:
    """`greedy` is empty for an interim evaluation."""

    sampled: list[Group]
    greedy: list[Group]

    def metrics(self) -> dict[str, float]:
        lengths = [len(group.rollouts[0].completion.token_ids) for group in self.sampled]
        named = {
            "eval/sampled": accuracy(self.sampled),
            "eval/n": float(len(self.sampled)),
            "eval/tries": mean_tries(self.sampled),
            "eval/length": sum(lengths) / len(lengths),
            "eval/errors": float(sum(group.rollouts[0].score.error is not None for group in self.sampled)),
        }
        named |= metrics_by_env(self.sampled, "eval")
        return named | ({"eval/greedy": accuracy(self.greedy)} if self.greedy else {})


def evaluate(generate: Generate, scorer: Scorer, problems: Sequence[Problem], greedy: bool) -> Evaluation:
    """One completion a problem at temperature 1, and one greedy where asked for."""
    return Evaluation(
        sampled=scorer.score(problems, generate(problems, 1.0)),
        greedy=scorer.score(problems, generate(problems, 0.0)) if greedy else [],
    )


def accuracy(groups: Sequence[Group]) -> float:
    """The share of rollouts that are exactly correct."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return sum(rollout.score.correct for rollout in rollouts) / len(rollouts)

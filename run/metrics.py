"""What a step was like, as flat numbers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from envs.countdown.skills import share
from envs.countdown.trace import read_tries
from grpo.grpo import Batch
from grpo.selection import has_reward_variance
from grpo.types import Group, Rollout

QUANTILES = (0.01, 0.5, 0.99)


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards, how many groups are solved, lengths and tries."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = [len(rollout.completion.token_ids) for rollout in rollouts]
    solved = [sum(rollout.score.correct for rollout in group.rollouts) / len(group.rollouts) for group in groups]
    metrics = {
        "reward/mean": _mean([rollout.score.reward for rollout in rollouts]),
        "reward/accuracy": share([rollout.score.correct for rollout in rollouts]),
        "reward/errors": float(sum(rollout.score.error is not None for rollout in rollouts)),
        "reward/equal_groups": share([not has_reward_variance(group) for group in groups]),
        "solved/none": share([value == 0 for value in solved]),
        "solved/some": share([0 < value < 1 for value in solved]),
        "solved/all": share([value == 1 for value in solved]),
        "length/mean": _mean(lengths),
        "length/max": float(max(lengths)),
        "length/truncated": share([rollout.completion.truncated for rollout in rollouts]),
        "rollout/tries": mean_tries(groups),
        "rollout/tokens": float(sum(lengths)),
    }
    for name in rollouts[0].score.components:
        metrics[f"reward/{name}"] = _mean([rollout.score.components[name] for rollout in rollouts])
    return metrics | metrics_by_env(groups, "env")


class DiscardedRollouts:
    """Completions of a step that were paid for and not trained on, and why."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Group]] = {}

    def add(self, why: str, groups: Sequence[Group]) -> None:
        self.groups.setdefault(why, []).extend(groups)

    def read(self, trained: Sequence[Group]) -> dict[str, float]:
        """How many groups and tokens went that way since the last reading, and `rollout/tokens`, all
        tokens of the step, with those of the groups that were trained on."""
        spent, self.groups = self.groups, {}
        metrics = {"rollout/tokens": float(sum(num_tokens(groups) for groups in (trained, *spent.values())))}
        for why, groups in spent.items():
            metrics |= {f"rollout/{why}_groups": float(len(groups)), f"rollout/{why}_tokens": float(num_tokens(groups))}
        return metrics


def versions_behind(groups: Sequence[Group], version: int) -> dict[str, float]:
    """How many versions the oldest weights that wrote a completion were behind those that it trains."""
    oldest = min(rollout.completion.weights_version for group in groups for rollout in group.rollouts)
    return {"weights/behind": float(version - oldest)}


def num_tokens(groups: Sequence[Group]) -> int:
    """Completion tokens."""
    return sum(len(rollout.completion.token_ids) for group in groups for rollout in group.rollouts)


def metrics_by_env(groups: Sequence[Group], prefix: str) -> dict[str, float]:
    """Accuracy, reward and length on each task, where a mix has several."""
    by_env: dict[str, list[Rollout]] = {}
    for group in groups:
        by_env.setdefault(group.problem.env, []).extend(group.rollouts)
    metrics: dict[str, float] = {}
    for env, rollouts in sorted(by_env.items()) if len(by_env) > 1 else ():
        metrics |= {
            f"{prefix}/{env}/accuracy": share([rollout.score.correct for rollout in rollouts]),
            f"{prefix}/{env}/reward": _mean([rollout.score.reward for rollout in rollouts]),
            f"{prefix}/{env}/length": _mean([len(rollout.completion.token_ids) for rollout in rollouts]),
        }
    return metrics


def mean_tries(groups: Sequence[Group]) -> float:
    """Tries a completion, 0 for tasks without numbers to search over."""
    return _mean(
        [
            len(read_tries(rollout.completion.text, group.problem.fields.get("numbers", [])))
            for group in groups
            for rollout in group.rollouts
        ]
    )


def mismatch_metrics(batch: Batch, old_logprobs: Tensor) -> dict[str, float]:
    """The gap between the sampler's and the trainer's log-probabilities over all completion tokens: quantiles of
    mismatch_ratio = exp(old_logprobs - behavior_logprobs), and the largest absolute gap. old_logprobs is [B, T]."""
    gap = (old_logprobs - batch.behavior_logprobs)[batch.mask]
    quantiles = torch.quantile(gap.exp()[: 2**24], torch.tensor(QUANTILES))
    named = {f"mismatch/ratio_p{100 * q:02.0f}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)}
    return named | {"mismatch/max_gap": float(gap.abs().max())}


def policy_metrics(update: Mapping[str, float]) -> dict[str, float]:
    return {f"policy/{name}": value for name, value in update.items()}


def time_metrics(phases: Mapping[str, float], step_seconds: float, tokens: float) -> dict[str, float]:
    """Seconds by phase, and of the training step, of which evaluation and checkpoints are no part."""
    waited = {f"time/{name}": seconds for name, seconds in phases.items()}
    return waited | {"time/step": step_seconds, "rollout/tokens_per_second": tokens / step_seconds}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

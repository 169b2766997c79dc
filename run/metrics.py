"""The metrics of a training step, as flat numbers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from grpo.grpo import Batch
from grpo.types import Group, Rollout
from run.reflection import GroupBehaviors, mean_tries

QUANTILES = (0.01, 0.5, 0.99)


def rollout_metrics(groups: Sequence[Group], behaviors: GroupBehaviors) -> dict[str, float]:
    """Rewards, shares of solved groups, completion lengths, and attempts per completion (`rollout/tries`), which is
    absent for tasks without a trace language."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    lengths = [len(rollout.completion.token_ids) for rollout in rollouts]
    solved = [sum(rollout.score.correct for rollout in group.rollouts) / len(group.rollouts) for group in groups]
    metrics = {
        "reward/mean": _mean([rollout.score.reward for rollout in rollouts]),
        "reward/accuracy": share([rollout.score.correct for rollout in rollouts]),
        "reward/errors": float(num_errors(groups)),
        "solved/none": share([value == 0 for value in solved]),
        "solved/some": share([0 < value < 1 for value in solved]),
        "solved/all": share([value == 1 for value in solved]),
        "length/mean": _mean(lengths),
        "length/max": float(max(lengths)),
        "length/truncated": share([rollout.completion.truncated for rollout in rollouts]),
        "rollout/tokens": float(sum(lengths)),
    }
    tries = mean_tries(behaviors)
    if tries is not None:
        metrics["rollout/tries"] = tries
    for name in rollouts[0].score.components:
        metrics[f"reward/{name}"] = _mean([rollout.score.components[name] for rollout in rollouts])
    return metrics | metrics_by_env(groups, "env")


class DiscardedRollouts:
    """Completions of a step that were generated but not trained on, by reason."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Group]] = {}

    def add(self, reason: str, groups: Sequence[Group]) -> None:
        self.groups.setdefault(reason, []).extend(groups)

    def read(self, trained: Sequence[Group]) -> dict[str, float]:
        """Groups and tokens by reason since the last call, and of the whole step, including the groups that were
        trained on, `rollout/tokens` and `reward/errors`. Resets the counts."""
        discarded, self.groups = self.groups, {}
        everything = (trained, *discarded.values())
        metrics = {"rollout/tokens": float(sum(map(num_tokens, everything)))}
        metrics["reward/errors"] = float(sum(map(num_errors, everything)))
        for reason, groups in discarded.items():
            metrics[f"rollout/{reason}_groups"] = float(len(groups))
            metrics[f"rollout/{reason}_tokens"] = float(num_tokens(groups))
        return metrics


def versions_behind(groups: Sequence[Group], version: int) -> dict[str, float]:
    """The age, in weight versions, of the oldest weights that generated a completion of the step."""
    oldest = min(rollout.completion.weights_version for group in groups for rollout in group.rollouts)
    return {"weights/behind": float(version - oldest)}


def num_tokens(groups: Sequence[Group]) -> int:
    """The number of completion tokens."""
    return sum(len(rollout.completion.token_ids) for group in groups for rollout in group.rollouts)


def num_errors(groups: Sequence[Group]) -> int:
    """The number of completions on which the grader failed."""
    return sum(rollout.score.error is not None for group in groups for rollout in group.rollouts)


def metrics_by_env(groups: Sequence[Group], prefix: str) -> dict[str, float]:
    """Accuracy, reward and length by task; empty if all groups belong to the same task."""
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


def group_metrics(batch: Batch) -> dict[str, float]:
    """The share of groups whose advantages are all 0, which have no gradient. Equal rewards are the usual cause."""
    total, useful = (len(ids.unique()) for ids in (batch.group_ids, batch.group_ids[batch.advantages.any(dim=1)]))
    return {"reward/equal_groups": (total - useful) / total}


def mismatch_metrics(batch: Batch, old_logprobs: Tensor) -> dict[str, float]:
    """The mismatch between the log-probabilities of the sampler and of the trainer over all completion tokens:
    quantiles of mismatch_ratio = exp(old_logprobs - behavior_logprobs), and the largest absolute difference of
    log-probabilities. old_logprobs is [B, T]."""
    gap = (old_logprobs - batch.behavior_logprobs)[batch.mask]
    quantiles = torch.quantile(gap.exp()[: 2**24], torch.tensor(QUANTILES))
    named = {f"mismatch/ratio_p{100 * q:02.0f}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)}
    return named | {"mismatch/max_gap": float(gap.abs().max())}


def policy_metrics(update: Mapping[str, float]) -> dict[str, float]:
    return {f"policy/{name}": value for name, value in update.items()}


def time_metrics(phases: Mapping[str, float], step_seconds: float, tokens: float) -> dict[str, float]:
    """Seconds by phase, seconds of the training step (without evaluation and checkpoints), and tokens per second."""
    named = {f"time/{name}": seconds for name, seconds in phases.items()}
    return named | {"time/step": step_seconds, "rollout/tokens_per_second": tokens / step_seconds}


def share(values: Sequence[bool]) -> float:
    """The share of true values; 0 for an empty sequence."""
    return sum(values) / len(values) if values else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

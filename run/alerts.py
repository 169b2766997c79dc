"""Early warnings for a run that goes wrong.

Each rule looks at the metric rows written so far. When its condition becomes true, it raises an alert that states
what was observed and what to try."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Rows = Sequence[Mapping[str, Any]]

RECENT = 5  # steps that a rule averages over
EARLY = 5  # first steps, whose mean is the baseline of a run


@dataclass(frozen=True)
class Alert:
    """The `name` of the rule, the observation (`message`), and what to try (`advice`)."""

    name: str
    message: str
    advice: str


def new_alerts(rows: Rows) -> list[Alert]:
    """The alerts that start with the last row: their condition holds now and did not hold one row earlier."""
    before = {rule for rule in RULES if rule(rows[:-1]) is not None}
    found = [rule(rows) for rule in RULES if rule not in before]
    return [alert for alert in found if alert is not None]


def reward_without_accuracy(rows: Rows) -> Alert | None:
    """Over the last two evaluation intervals the reward rose by 0.1 or more, but held-out accuracy did not rise."""
    evaluated = [index for index, row in enumerate(rows) if "eval/sampled" in row]
    if len(evaluated) < 3 or evaluated[-1] != len(rows) - 1:
        return None
    first, last = evaluated[-3], evaluated[-1]
    then, now = _recent_mean(rows[: first + RECENT], "reward/mean"), _recent_mean(rows, "reward/mean")
    accuracy = rows[last]["eval/sampled"] - rows[first]["eval/sampled"]
    if then is None or now is None or now - then < 0.1 or accuracy > 0:
        return None
    return Alert(
        "reward_without_accuracy",
        f"over the last two evaluation intervals the reward rose from {then:.2f} to {now:.2f}, but held-out accuracy "
        f"changed by {accuracy:+.1%}",
        "read the samples: the model may earn the reward without solving the problems; try reward=strict",
    )


def entropy_collapse(rows: Rows) -> Alert | None:
    first, now = _early_mean(rows, "policy/entropy"), _recent_mean(rows, "policy/entropy")
    if first is None or now is None or now > 0.2 * first:
        return None
    return Alert(
        "entropy_collapse",
        f"entropy fell from {first:.3f} to {now:.3f} nats per token: the completions of a prompt become identical",
        "try algorithm.loss.clip_high=0.28, algorithm.loss.entropy_coef=0.001, or a lower algorithm.optimizer.lr",
    )


def length_explosion(rows: Rows) -> Alert | None:
    first, now = _early_mean(rows, "length/mean"), _recent_mean(rows, "length/mean")
    truncated_share = _recent_mean(rows, "length/truncated")
    if first is None or now is None or truncated_share is None or now < 2 * first or truncated_share < 0.3:
        return None
    return Alert(
        "length_explosion",
        f"completions grew from {first:.0f} to {now:.0f} tokens, and {truncated_share:.0%} of them are truncated",
        "try +reward.weights.length=1.0, algorithm.loss.aggregation=constant, or a lower algorithm.optimizer.lr",
    )


def length_collapse(rows: Rows) -> Alert | None:
    first, now = _early_mean(rows, "length/mean"), _recent_mean(rows, "length/mean")
    if first is None or now is None or now > 0.25 * first:
        return None
    return Alert(
        "length_collapse",
        f"completions shrank from {first:.0f} to {now:.0f} tokens: the model answers without thinking",
        "try reward=strict, which rewards only correct answers, or a larger algorithm.kl.coef",
    )


def truncated(rows: Rows) -> Alert | None:
    share = _recent_mean(rows, "length/truncated")
    if share is None or share < 0.3:
        return None
    return Alert(
        "truncated",
        f"{share:.0%} of the completions are truncated at the token limit and cannot be correct",
        "try a larger model.max_completion_tokens, or algorithm.loss.mask_truncated=true",
    )


def mismatch(rows: Rows) -> Alert | None:
    """For 1% of the tokens, the trainer's probability is at most half or at least twice that of the sampler."""
    low, high = _recent_mean(rows, "mismatch/ratio_p01"), _recent_mean(rows, "mismatch/ratio_p99")
    if low is None or high is None or (low > 0.5 and high < 2.0):
        return None
    return Alert(
        "mismatch",
        f"trainer and sampler disagree: the 1st and 99th percentiles of their probability ratio are {low:.2f} and "
        f"{high:.2f}",
        "try algorithm.correction.level=token or model.dtype=float32, and check that weights/version increases",
    )


def equal_groups(rows: Rows) -> Alert | None:
    equal = _recent_mean(rows, "reward/equal_groups")
    if equal is None or equal < 0.9:
        return None
    return Alert(
        "equal_groups",
        f"in {equal:.0%} of the groups all rewards are equal, so these groups give no learning signal",
        "try problems that the model solves sometimes, algorithm.sampling.candidates=4, or a larger "
        "algorithm.group_size",
    )


def no_format(rows: Rows) -> Alert | None:
    """A reward for the format of the answer was 0 for every completion of the last RECENT steps."""
    for name in ("reward/format", "reward/answered"):
        if _recent_mean(rows, name) == 0:
            return Alert(
                "no_format",
                f"{name} was 0 in the last {RECENT} steps: no completion contains an answer that can be parsed",
                "read the samples: model.prompt_style may not fit the model, or model.max_completion_tokens may be "
                "too small",
            )
    return None


def grad_norm_spike(rows: Rows) -> Alert | None:
    norms = [row["policy/grad_norm"] for row in rows if "policy/grad_norm" in row]
    if len(norms) <= EARLY or norms[-1] < 10 * (usual := median(norms[-21:-1])):
        return None
    return Alert(
        "grad_norm_spike",
        f"the gradient norm is {norms[-1]:.3g}, {norms[-1] / usual:.0f} times its recent median of {usual:.3g}",
        "a single spike is harmless, since gradients are clipped; if spikes recur, lower algorithm.optimizer.lr or "
        "algorithm.optimizer.max_grad_norm",
    )


def skipped_updates(rows: Rows) -> Alert | None:
    skipped = rows[-1].get("policy/skipped", 0) if rows else 0
    if not skipped:
        return None
    return Alert(
        "skipped_updates",
        f"{skipped:.0f} optimizer updates of this step were skipped because the gradient was not finite",
        "try a lower algorithm.optimizer.lr, or model.dtype=float32",
    )


def grader_errors(rows: Rows) -> Alert | None:
    errors = rows[-1].get("reward/errors", 0) if rows else 0
    if not errors:
        return None
    return Alert(
        "grader_errors",
        f"the grader failed on {errors:.0f} completions of this step, which received no reward",
        "read `reason` in samples.jsonl; python -m rewards score on these samples reproduces the error",
    )


RULES: tuple[Callable[[Rows], Alert | None], ...] = (
    reward_without_accuracy,
    entropy_collapse,
    length_explosion,
    length_collapse,
    truncated,
    mismatch,
    equal_groups,
    no_format,
    grad_norm_spike,
    skipped_updates,
    grader_errors,
)


def _early_mean(rows: Rows, name: str) -> float | None:
    """The mean of a metric over the first EARLY rows that have it; None if there are fewer."""
    values = [row[name] for row in rows if name in row]
    return sum(values[:EARLY]) / EARLY if len(values) >= EARLY else None


def _recent_mean(rows: Rows, name: str) -> float | None:
    """The mean of a metric over the last RECENT rows that have it; None if there are fewer."""
    values = [row[name] for row in rows if name in row]
    return sum(values[-RECENT:]) / RECENT if len(values) >= RECENT else None

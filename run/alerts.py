"""Early warnings for a run that goes wrong.

Each rule looks at the history of a run's metrics. When its condition becomes true, it raises an alert that states what
was observed and what to try."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

RECENT = 5  # steps that a rule averages over
EARLY = 5  # first steps, whose mean is the baseline of a run
USUAL = 20  # steps before the last, whose median is the usual value of a metric


@dataclass(frozen=True)
class Alert:
    """The `name` of the rule, the observation (`message`), and what to try (`advice`)."""

    name: str
    message: str
    advice: str


@dataclass
class Evaluated:
    """The held-out accuracy of an evaluation, and the mean reward of the RECENT steps that began with it (of those
    before, until there are as many)."""

    accuracy: float
    reward: float | None = None
    rows: int = 0


class History:
    """What the rules need of the rows so far. Its size does not depend on their number.

    last  the newest row
    """

    def __init__(self) -> None:
        self.last: Mapping[str, Any] = {}
        self.evaluations: deque[Evaluated] = deque(maxlen=3)
        self._first: dict[str, list[float]] = {}
        self._newest: dict[str, deque[float]] = {}

    @property
    def is_sft(self) -> bool:
        return "data/loss" in self.last

    @property
    def optimizer(self) -> str:
        """The key of the optimizer's settings."""
        return "optimizer" if self.is_sft else "algorithm.optimizer"

    def add(self, row: Mapping[str, Any]) -> None:
        self.last = row
        for name in WATCHED & row.keys():
            if not math.isfinite(row[name]):  # the gradient's norm in a skipped update, which is no usual value
                continue
            first = self._first.setdefault(name, [])
            if len(first) < EARLY:
                first.append(row[name])
            self._newest.setdefault(name, deque(maxlen=USUAL + 1)).append(row[name])
        if "eval/sampled" in row:
            self.evaluations.append(Evaluated(row["eval/sampled"]))
        for evaluated in self.evaluations:
            if evaluated.rows < RECENT:
                evaluated.reward, evaluated.rows = self.recent_mean("reward/mean"), evaluated.rows + 1

    def newest(self, name: str) -> list[float]:
        """The last USUAL + 1 values of a metric, oldest first."""
        return list(self._newest.get(name, ()))

    def early_mean(self, name: str) -> float | None:
        """The mean of a metric over the first EARLY rows that have it; None if there are fewer."""
        values = self._first.get(name, [])
        return sum(values) / EARLY if len(values) >= EARLY else None

    def recent_mean(self, name: str) -> float | None:
        """The mean of a metric over the last RECENT rows that have it; None if there are fewer."""
        values = self.newest(name)[-RECENT:]
        return sum(values) / RECENT if len(values) >= RECENT else None


class Alerts:
    """Watches the rows of a run, one after the other."""

    def __init__(self) -> None:
        self.history = History()
        self.raised: set[str] = set()

    def add(self, row: Mapping[str, Any]) -> list[Alert]:
        """The alerts that start with this row: their condition holds now and did not hold one row earlier."""
        self.history.add(row)
        found = [alert for rule in RULES if (alert := rule(self.history)) is not None]
        new = [alert for alert in found if alert.name not in self.raised]
        self.raised = {alert.name for alert in found}
        return new


def reward_without_accuracy(run: History) -> Alert | None:
    """Over the last two evaluation intervals the reward rose by 0.1 or more, but held-out accuracy did not rise."""
    if len(run.evaluations) < 3 or "eval/sampled" not in run.last:
        return None
    first, last = run.evaluations[0], run.evaluations[-1]
    then, now = first.reward, last.reward
    accuracy = last.accuracy - first.accuracy
    if then is None or now is None or now - then < 0.1 or accuracy > 0:
        return None
    return Alert(
        "reward_without_accuracy",
        f"over the last two evaluation intervals the reward rose from {then:.2f} to {now:.2f}, but held-out accuracy "
        f"changed by {accuracy:+.1%}",
        "read the samples: the model may earn the reward without solving the problems; try reward=strict",
    )


def entropy_collapse(run: History) -> Alert | None:
    first, now = run.early_mean("policy/entropy"), run.recent_mean("policy/entropy")
    if run.is_sft or first is None or now is None or now > 0.2 * first:
        return None
    return Alert(
        "entropy_collapse",
        f"entropy fell from {first:.3f} to {now:.3f} nats per token: the completions of a prompt become identical",
        "try algorithm.loss.clip_high=0.28, algorithm.loss.entropy_coef=0.001, or a lower algorithm.optimizer.lr",
    )


def length_explosion(run: History) -> Alert | None:
    first, now = run.early_mean("length/mean"), run.recent_mean("length/mean")
    truncated_share = run.recent_mean("length/truncated")
    if first is None or now is None or truncated_share is None or now < 2 * first or truncated_share < 0.3:
        return None
    return Alert(
        "length_explosion",
        f"completions grew from {first:.0f} to {now:.0f} tokens, and {truncated_share:.0%} of them are truncated",
        "try +reward.weights.length=1.0, algorithm.loss.aggregation=constant, or a lower algorithm.optimizer.lr",
    )


def length_collapse(run: History) -> Alert | None:
    first, now = run.early_mean("length/mean"), run.recent_mean("length/mean")
    if first is None or now is None or now > 0.25 * first:
        return None
    return Alert(
        "length_collapse",
        f"completions shrank from {first:.0f} to {now:.0f} tokens: the model answers without thinking",
        "try reward=strict, which rewards only correct answers, or a larger algorithm.kl.coef",
    )


def truncated(run: History) -> Alert | None:
    share = run.recent_mean("length/truncated")
    if share is None or share < 0.3:
        return None
    return Alert(
        "truncated",
        f"{share:.0%} of the completions are truncated at the token limit and cannot be correct",
        "try a larger model.max_completion_tokens, or algorithm.loss.mask_truncated=true",
    )


def mismatch(run: History) -> Alert | None:
    """For 1% of the tokens, the trainer's probability is at most half or at least twice that of the sampler."""
    low, high = run.recent_mean("mismatch/ratio_p01"), run.recent_mean("mismatch/ratio_p99")
    if low is None or high is None or (low > 0.5 and high < 2.0):
        return None
    return Alert(
        "mismatch",
        f"trainer and sampler disagree: the 1st and 99th percentiles of their probability ratio are {low:.2f} and "
        f"{high:.2f}",
        "try algorithm.correction.level=token or model.dtype=float32, and check that weights/version increases",
    )


def equal_groups(run: History) -> Alert | None:
    equal = run.recent_mean("reward/equal_groups")
    if equal is None or equal < 0.9:
        return None
    return Alert(
        "equal_groups",
        f"in {equal:.0%} of the groups all advantages are 0, as with equal rewards, so these groups give no learning "
        "signal",
        "try problems that the model solves sometimes, algorithm.sampling.candidates=4, or a larger "
        "algorithm.group_size",
    )


def no_format(run: History) -> Alert | None:
    """A reward for the format of the answer was 0 for every completion of the last RECENT steps."""
    for name in ("reward/format", "reward/answered"):
        if run.recent_mean(name) == 0:
            return Alert(
                "no_format",
                f"{name} was 0 in the last {RECENT} steps: no completion contains an answer that can be parsed",
                "read the samples: model.prompt_style may not fit the model, or model.max_completion_tokens may be "
                "too small",
            )
    return None


def grad_norm_spike(run: History) -> Alert | None:
    norms = run.newest("policy/grad_norm")
    usual = median(norms[:-1]) if len(norms) > EARLY else 0.0
    norm = run.last.get("policy/grad_norm", math.nan)
    if usual == 0 or not math.isfinite(norm) or norm < 10 * usual:  # 0: every group had equal rewards
        return None
    return Alert(
        "grad_norm_spike",
        f"the gradient norm is {norm:.3g}, {norm / usual:.0f} times its recent median of {usual:.3g}",
        f"a single spike is harmless, since gradients are clipped; if spikes recur, lower {run.optimizer}.lr or "
        f"{run.optimizer}.max_grad_norm",
    )


def skipped_updates(run: History) -> Alert | None:
    skipped = run.last.get("policy/skipped", 0)
    if not skipped:
        return None
    return Alert(
        "skipped_updates",
        f"{skipped:.0f} optimizer updates of this step were skipped because the gradient was not finite",
        f"try a lower {run.optimizer}.lr, or model.dtype=float32",
    )


def grader_errors(run: History) -> Alert | None:
    errors = run.last.get("reward/errors", 0)
    if not errors:
        return None
    return Alert(
        "grader_errors",
        f"the grader failed on {errors:.0f} completions of this step, which received no reward",
        "read `reason` in samples.jsonl; python -m rewards score on these samples reproduces the error",
    )


RULES: tuple[Callable[[History], Alert | None], ...] = (
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
# The metrics of which the rules need more than the last value.
WATCHED = {
    "reward/mean",
    "reward/equal_groups",
    "reward/format",
    "reward/answered",
    "policy/entropy",
    "policy/grad_norm",
    "length/mean",
    "length/truncated",
    "mismatch/ratio_p01",
    "mismatch/ratio_p99",
}

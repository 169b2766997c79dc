"""A run that goes wrong says so early. Each rule looks at the metric rows so far, and speaks when it
begins to hold: a sentence, and what to try."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Rows = Sequence[Mapping[str, Any]]

RECENT = 5  # steps over which a rule averages
EARLY = 5  # steps that say what the run was like at first


@dataclass(frozen=True)
class Alert:
    """`name` of the rule, `message` what is seen, `advice` what to try."""

    name: str
    message: str
    advice: str


def new_alerts(rows: Rows) -> list[Alert]:
    """The alerts that the last row brings: those that hold now and did not hold a row before."""
    before = {rule for rule in RULES if rule(rows[:-1]) is not None}
    found = [(rule, rule(rows)) for rule in RULES if rule not in before]
    return [alert for _, alert in found if alert is not None]


def reward_without_accuracy(rows: Rows) -> Alert | None:
    """The reward rose by a tenth and more since an evaluation, the held-out accuracy did not at all."""
    evaluated = [place for place, row in enumerate(rows) if "eval/sampled" in row]
    if len(evaluated) < 3 or evaluated[-1] != len(rows) - 1:
        return None
    first, last = evaluated[-3], evaluated[-1]
    then, now = _mean(rows[: first + RECENT], "reward/mean"), _mean(rows, "reward/mean")
    accuracy = rows[last]["eval/sampled"] - rows[first]["eval/sampled"]
    if then is None or now is None or now - then < 0.1 or accuracy > 0:
        return None
    return Alert(
        "reward_without_accuracy",
        f"the reward rose from {then:.2f} to {now:.2f} in two evaluations, the held-out accuracy by {accuracy:+.1%}",
        "read the samples: the reward may be earned without solving; try reward=strict",
    )


def entropy_collapse(rows: Rows) -> Alert | None:
    first, now = _first(rows, "policy/entropy"), _mean(rows, "policy/entropy")
    if first is None or now is None or now > 0.2 * first:
        return None
    return Alert(
        "entropy_collapse",
        f"the entropy fell to {now:.3f} nats a token, from {first:.3f}: completions of a problem become the same",
        "try algorithm.loss.clip_high=0.28, algorithm.loss.entropy_coef=0.001, or a lower algorithm.optimizer.lr",
    )


def length_explosion(rows: Rows) -> Alert | None:
    first, now, cut = _first(rows, "length/mean"), _mean(rows, "length/mean"), _mean(rows, "length/truncated")
    if first is None or now is None or cut is None or now < 2 * first or cut < 0.3:
        return None
    return Alert(
        "length_explosion",
        f"completions grew from {first:.0f} to {now:.0f} tokens, and {cut:.0%} of them never end",
        "try +reward.weights.length=1.0, algorithm.loss.aggregation=constant, or a lower algorithm.optimizer.lr",
    )


def length_collapse(rows: Rows) -> Alert | None:
    first, now = _first(rows, "length/mean"), _mean(rows, "length/mean")
    if first is None or now is None or now > 0.25 * first:
        return None
    return Alert(
        "length_collapse",
        f"completions shrank from {first:.0f} to {now:.0f} tokens: the model answers without thinking",
        "try reward=strict, which pays for nothing but a correct answer, or a larger algorithm.kl.coef",
    )


def truncated(rows: Rows) -> Alert | None:
    cut = _mean(rows, "length/truncated")
    if cut is None or cut < 0.3:
        return None
    return Alert(
        "truncated",
        f"{cut:.0%} of the completions are cut at the limit, and can't be right",
        "try a larger model.max_completion_tokens, or algorithm.loss.mask_truncated=true",
    )


def mismatch(rows: Rows) -> Alert | None:
    """The sampler's and the trainer's probabilities differ by half and more for a hundredth of the tokens."""
    low, high = _mean(rows, "mismatch/ratio_p01"), _mean(rows, "mismatch/ratio_p99")
    if low is None or high is None or (low > 0.5 and high < 2.0):
        return None
    return Alert(
        "mismatch",
        f"for a token in a hundred the trainer's probability is {low:.2f} or {high:.2f} times the sampler's",
        "try algorithm.correction.level=token, model.dtype=float32, or look whether weights/version keeps up",
    )


def equal_groups(rows: Rows) -> Alert | None:
    equal = _mean(rows, "reward/equal_groups")
    if equal is None or equal < 0.9:
        return None
    return Alert(
        "equal_groups",
        f"in {equal:.0%} of the groups all rewards are equal, so that there is nothing to learn from them",
        "try problems that are solved sometimes, algorithm.sampling.candidates=4, or a larger algorithm.group_size",
    )


def no_format(rows: Rows) -> Alert | None:
    """Not one completion in RECENT steps earned what is paid for the form alone."""
    for name in ("reward/format", "reward/answered"):
        if _mean(rows, name) == 0:
            return Alert(
                "no_format",
                f"{name} was 0 in the last {RECENT} steps: no completion has an answer that can be read",
                "read the samples: the prompt style may not fit the model (model.prompt_style), or it is cut too early",
            )
    return None


def grad_norm_spike(rows: Rows) -> Alert | None:
    norms = [row["policy/grad_norm"] for row in rows if "policy/grad_norm" in row]
    if len(norms) <= EARLY or norms[-1] < 10 * (usual := median(norms[-21:-1])):
        return None
    return Alert(
        "grad_norm_spike",
        f"the gradient norm is {norms[-1]:.3g}, {norms[-1] / usual:.0f} times the usual {usual:.3g}",
        "one is clipped and forgotten; if they come again, lower algorithm.optimizer.lr or its max_grad_norm",
    )


def skipped_updates(rows: Rows) -> Alert | None:
    skipped = rows[-1].get("policy/skipped", 0) if rows else 0
    if not skipped:
        return None
    return Alert(
        "skipped_updates",
        f"{skipped:.0f} updates of this step were skipped, because their gradient was not finite",
        "try a lower algorithm.optimizer.lr, or model.dtype=float32",
    )


def grader_errors(rows: Rows) -> Alert | None:
    errors = rows[-1].get("reward/errors", 0) if rows else 0
    if not errors:
        return None
    return Alert(
        "grader_errors",
        f"the grader failed on {errors:.0f} completions of this step, which count as unrewarded",
        "read `reason` of the samples; run python -m rewards score on them to see it again",
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


def _first(rows: Rows, name: str) -> float | None:
    """The mean over the EARLY first steps that have it; None before there are that many."""
    values = [row[name] for row in rows if name in row]
    return sum(values[:EARLY]) / EARLY if len(values) >= EARLY else None


def _mean(rows: Rows, name: str) -> float | None:
    """The mean over the RECENT last steps that have it; None before there are that many."""
    values = [row[name] for row in rows if name in row]
    return sum(values[-RECENT:]) / RECENT if len(values) >= RECENT else None

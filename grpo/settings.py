"""The settings under `algorithm` that the mathematics reads, with their checks. This module does not import torch, so
that a configuration composes quickly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

ADVANTAGES_OF = ("rewards", "components", "pass_at_k")
BASELINES = ("group_mean", "leave_one_out", "batch_mean")
SCALES = ("group_std", "batch_std", "none")
LOSSES = ("ppo", "reinforce", "gspo", "cispo", "sapo", "gmpo", "nll")
COMPLETION_LOSSES = ("gspo", "gmpo")  # with one ratio per completion, so that all its tokens have the same loss
AGGREGATIONS = ("token", "sequence", "constant")
KL_APPLIES_TO = ("loss", "reward", "reward_to_go")
KL_ESTIMATORS = ("k1", "k2", "k3")
CORRECTION_LEVELS = ("none", "token", "sequence")
CORRECTION_MODES = ("truncate", "mask")


@dataclass
class AdvantageConfig:
    """How rewards become advantages (grpo/grpo.py, grpo/advantages.py).

    of        "rewards": the total rewards; "components": each reward component is normalized by itself, then they are
              added up; "pass_at_k": the pass@k reward of the group, from correctness alone
    baseline  subtracted from a reward: the mean of its group, of the other rewards of its group, or of the batch
    scale     divides the difference by the standard deviation of the group or of the batch, or not at all ("none");
              "batch_mean" requires one of the latter two
    epsilon   added to the standard deviation, which is 0 if all rewards are equal; above 0
    k         completions per set for "pass_at_k", >= 1
    """

    of: str = "rewards"
    baseline: str = "group_mean"
    scale: str = "group_std"
    epsilon: float = 1e-4
    k: int = 4

    def __post_init__(self) -> None:
        one_of("algorithm.advantage.of", self.of, ADVANTAGES_OF)
        one_of("algorithm.advantage.baseline", self.baseline, BASELINES)
        one_of("algorithm.advantage.scale", self.scale, SCALES)
        above("algorithm.advantage.epsilon", self.epsilon, 0)
        at_least("algorithm.advantage.k", self.k, 1)
        if self.baseline == "batch_mean" and self.scale == "group_std":
            raise ValueError(
                "algorithm.advantage.baseline=batch_mean cannot be combined with algorithm.advantage.scale=group_std, "
                "which is 0 in a group of equal rewards, however far they are from the batch's mean; choose batch_std "
                "or none"
            )


@dataclass
class LossConfig:
    """The policy loss (ppo in grpo/grpo.py, the others in grpo/losses.py) and its aggregation over tokens.

    clip_low, clip_high         the policy ratio is clipped to 1 - clip_low .. 1 + clip_high, both > 0; gmpo clips the
                                log-ratio to -clip_low .. clip_high
    dual_clip                   bounds the loss of a negative advantage by dual_clip * |A|, > 1; ppo only; null for no
                                bound
    tau_positive, tau_negative  temperatures of the gate for positive and negative advantages, > 0; sapo only
    aggregation                 how per-token losses are averaged, see `token_weights` in grpo/grpo.py
    mask_truncated              completions that were cut at the token limit carry no loss (DAPO's overlong filtering)
    entropy_coef                entropy_coef * entropy is subtracted from the loss of each token
    """

    name: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    tau_positive: float = 1.0
    tau_negative: float = 1.05
    aggregation: str = "token"
    mask_truncated: bool = False
    entropy_coef: float = 0.0

    def __post_init__(self) -> None:
        one_of("algorithm.loss.name", self.name, LOSSES)
        one_of("algorithm.loss.aggregation", self.aggregation, AGGREGATIONS)
        for key in ("clip_low", "clip_high", "tau_positive", "tau_negative"):
            above(f"algorithm.loss.{key}", getattr(self, key), 0)
        if self.dual_clip is not None:
            above("algorithm.loss.dual_clip", self.dual_clip, 1)
            if self.name != "ppo":
                raise ValueError(
                    f"algorithm.loss.dual_clip={self.dual_clip} requires algorithm.loss.name=ppo, got {self.name}; "
                    "set it to null"
                )


@dataclass
class KlConfig:
    """The KL divergence from the reference policy (grpo/kl.py).

    coef            weight of the KL, >= 0; 0 disables it
    apply_to        "loss": coef * KL is added to the loss of each token; "reward": the summed KL of a completion is
                    subtracted from its reward; "reward_to_go": the KL of a token and all later ones is subtracted
                    from the token's return
    estimator       "k1", "k2" or "k3", see `kl_estimate` in grpo/kl.py
    unbiased        weight the estimate by the policy ratio, so that its gradient is the gradient of the KL
    ref_sync_steps  number of steps between updates of the reference to the actor's weights; 0 keeps it frozen
    """

    coef: float = 0.001
    apply_to: str = "loss"
    estimator: str = "k3"
    unbiased: bool = False
    ref_sync_steps: int = 0

    def __post_init__(self) -> None:
        at_least("algorithm.kl.coef", self.coef, 0)
        one_of("algorithm.kl.apply_to", self.apply_to, KL_APPLIES_TO)
        one_of("algorithm.kl.estimator", self.estimator, KL_ESTIMATORS)
        at_least("algorithm.kl.ref_sync_steps", self.ref_sync_steps, 0)
        if self.coef and self.apply_to == "loss" and self.estimator == "k1" and not self.unbiased:
            raise ValueError(
                "algorithm.kl.estimator=k1 with algorithm.kl.apply_to=loss has an expected gradient of 0; "
                "choose k2 or k3, algorithm.kl.unbiased=true, or algorithm.kl.apply_to=reward"
            )
        if self.unbiased and self.apply_to != "loss":
            raise ValueError(
                f"algorithm.kl.unbiased=true requires algorithm.kl.apply_to=loss, got {self.apply_to}; set it to false"
            )


@dataclass
class CorrectionConfig:
    """Importance weights for the mismatch between the sampler's and the trainer's probabilities (grpo/correction.py).

    level  "none" for no correction, or the mismatch ratio of each "token" (not with gspo and gmpo) or of the whole
           "sequence"
    mode   "truncate": ratios above `high` are set to `high`; "mask": ratios outside low..high are set to 0
    low    > 0
    high   > low
    """

    level: str = "none"
    mode: str = "truncate"
    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        one_of("algorithm.correction.level", self.level, CORRECTION_LEVELS)
        one_of("algorithm.correction.mode", self.mode, CORRECTION_MODES)
        above("algorithm.correction.low", self.low, 0)
        above("algorithm.correction.high", self.high, self.low)


def not_empty(key: str, value: str | None) -> None:
    """Refuse "", which an unset variable of the shell leaves behind, as the name of a file or folder."""
    if value is not None and not value.strip():
        raise ValueError(f"{key}= is empty; give a name, or leave {key} out")


def at_least(key: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{key} must be >= {least}{_finite(value)}, got {value}")


def above(key: str, value: float, bound: float) -> None:
    if not bound < value < math.inf:
        raise ValueError(f"{key} must be > {bound}{_finite(value)}, got {value}")


def at_most(key: str, value: float, most: float) -> None:
    if not value <= most:
        raise ValueError(f"{key} must be <= {most}, got {value}")


def below(key: str, value: float, bound: float) -> None:
    if not value < bound:
        raise ValueError(f"{key} must be < {bound}, got {value}")


def _finite(value: float) -> str:
    return " and finite" if math.isinf(value) else ""


def one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value}")

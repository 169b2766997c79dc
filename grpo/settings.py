"""The settings of the mathematics, each with its check. No torch here, so that Hydra composes at once."""

from collections.abc import Sequence
from dataclasses import dataclass

ADVANTAGES_OF = ("rewards", "components", "pass_at_k")
BASELINES = ("group_mean", "leave_one_out", "batch_mean")
SCALES = ("group_std", "batch_std", "none")
LOSSES = ("ppo", "reinforce", "gspo", "cispo", "sapo", "gmpo")
AGGREGATIONS = ("token", "sequence", "constant")
KL_APPLIES_TO = ("loss", "reward", "reward_to_go")
KL_ESTIMATORS = ("k1", "k2", "k3")
CORRECTION_LEVELS = ("none", "token", "sequence")
CORRECTION_MODES = ("truncate", "mask")


@dataclass
class AdvantageConfig:
    """How rewards become advantages (grpo/advantages.py).

    of       "rewards": the weighted sums; "components": each component of the reward apart, then added
             up; "pass_at_k": whether one of k is correct, whatever the rewards
    epsilon  is added to the spread that is divided by
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
        at_least("algorithm.advantage.epsilon", self.epsilon, 0)
        at_least("algorithm.advantage.k", self.k, 1)


@dataclass
class LossConfig:
    """The policy's part of the loss (grpo/losses.py).

    clip_low, clip_high   how far the ratio may fall below and rise above 1; in the logarithm for gmpo
    dual_clip             ppo alone: the loss of a negative advantage stays below dual_clip * |A|
    tau_positive, tau_negative   sapo alone: the steepness of its gates
    mask_truncated        completions cut at the limit carry no loss (DAPO's overlong filtering)
    entropy_coef          times the entropy is taken off the loss
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
                raise ValueError(f"algorithm.loss.dual_clip belongs to loss ppo, not to {self.name}; set it to null")


@dataclass
class KlConfig:
    """The distance to the reference (grpo/kl.py).

    apply_to          "loss": added to each token's; "reward": a completion's sum is taken off its reward;
                   "reward_to_go": each token's advantage pays for the tokens from there on
    unbiased       weigh the estimate by the policy ratio, so that its gradient is that of the KL
    ref_sync_steps  steps after which the reference takes the actor's weights, 0 for never
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
                "algorithm.kl.estimator=k1 in the loss has a gradient of 0 on average; "
                "choose k2 or k3, algorithm.kl.unbiased=true, or algorithm.kl.apply_to=reward"
            )
        if self.unbiased and self.apply_to != "loss":
            raise ValueError(
                f"algorithm.kl.unbiased=true is for apply_to=loss; with apply_to={self.apply_to} it has no meaning"
            )


@dataclass
class CorrectionConfig:
    """What is done about the sampler's probabilities not being the trainer's (grpo/correction.py).

    level  the mismatch ratio of each "token", or of the whole "sequence"
    mode   "truncate": weights are the ratios, at most `high`; "mask": those outside low..high weigh 0
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


def at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{key} must be >= {least}, got {value}")


def above(key: str, value: float, bound: float) -> None:
    if not value > bound:
        raise ValueError(f"{key} must be > {bound}, got {value}")


def one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value}")

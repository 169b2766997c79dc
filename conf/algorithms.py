"""The settings of an algorithm: how a step samples, what it computes and how it moves the weights."""

from dataclasses import dataclass, field

from grpo.settings import (
    AdvantageConfig,
    CorrectionConfig,
    KlConfig,
    LossConfig,
    above,
    at_least,
    one_of,
)


@dataclass
class SamplingConfig:
    """temperature     of the sampler, and of the trainer's log-probabilities
    top_p, top_k       cut the sampler's distribution; 1.0 and 0 leave it whole
    max_resample_rounds         groups with equal rewards are replaced by those of other problems (dynamic
                       sampling) until none is left or this many rounds were made; 1 is never
    candidates         problems that are tried for one that is kept (1: none is tried): those solved
                       sometimes, by `trial_completions` completions each, come first
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_resample_rounds: int = 1
    candidates: int = 1
    trial_completions: int = 4

    @property
    def is_cut(self) -> bool:
        return self.top_p < 1 or self.top_k > 0

    def __post_init__(self) -> None:
        above("algorithm.sampling.temperature", self.temperature, 0)
        above("algorithm.sampling.top_p", self.top_p, 0)
        at_least("algorithm.sampling.top_k", self.top_k, 0)
        at_least("algorithm.sampling.max_resample_rounds", self.max_resample_rounds, 1)
        at_least("algorithm.sampling.candidates", self.candidates, 1)
        at_least("algorithm.sampling.trial_completions", self.trial_completions, 2)
        if self.top_p > 1:
            raise ValueError(f"algorithm.sampling.top_p must be <= 1, got {self.top_p}")


@dataclass
class OptimizerConfig:
    """name: "adamw", or "adamw_8bit" (bitsandbytes). schedule is a name of transformers' get_scheduler,
    warmup_steps its warm-up. An update whose gradient is not finite is skipped; `max_skipped` of them
    in a row end the run."""

    name: str = "adamw"
    lr: float = 1e-6
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    schedule: str = "constant_with_warmup"
    warmup_steps: int = 0
    max_skipped: int = 3

    def __post_init__(self) -> None:
        one_of("algorithm.optimizer.name", self.name, ("adamw", "adamw_8bit"))
        above("algorithm.optimizer.lr", self.lr, 0)
        above("algorithm.optimizer.max_grad_norm", self.max_grad_norm, 0)
        at_least("algorithm.optimizer.max_skipped", self.max_skipped, 1)
        one_of("algorithm.optimizer.schedule", self.schedule, ("constant", "constant_with_warmup", "linear", "cosine"))


@dataclass
class AlgorithmConfig:
    """One step: num_prompts problems, group_size completions each, and num_epochs passes over them with
    num_minibatches optimizer updates each. micro_batch_tokens bounds the tokens of one forward and
    backward pass; it changes no result."""

    name: str = "grpo"
    num_prompts: int = 32
    group_size: int = 8
    num_minibatches: int = 1
    num_epochs: int = 1
    micro_batch_tokens: int = 8192
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    kl: KlConfig = field(default_factory=KlConfig)
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def num_completions(self) -> int:
        return self.num_prompts * self.group_size

    @property
    def num_updates(self) -> int:
        return self.num_epochs * self.num_minibatches

    @property
    def uses_reference(self) -> bool:
        return self.kl.coef > 0

    @property
    def needs_old_logprobs(self) -> bool:
        """Whether the log-probabilities of the old policy must be known before the update. A single update computes
        them in its own forward pass."""
        return self.num_updates > 1 or (self.uses_reference and self.kl.apply_to != "loss")

    def __post_init__(self) -> None:
        at_least("algorithm.num_prompts", self.num_prompts, 1)
        at_least("algorithm.group_size", self.group_size, 2)
        at_least("algorithm.num_minibatches", self.num_minibatches, 1)
        at_least("algorithm.num_epochs", self.num_epochs, 1)
        at_least("algorithm.micro_batch_tokens", self.micro_batch_tokens, 1)
        if self.num_completions % self.num_minibatches:
            raise ValueError(
                f"algorithm.num_minibatches={self.num_minibatches} must divide num_prompts * group_size = "
                f"{self.num_prompts} * {self.group_size} = {self.num_completions}"
            )
        if self.advantage.of == "pass_at_k" and self.advantage.k > self.group_size:
            raise ValueError(
                f"algorithm.advantage.k={self.advantage.k} must be at most algorithm.group_size={self.group_size}"
            )
        self._check_kl_place()
        self._check_correction()

    def _check_kl_place(self) -> None:
        place, advantage, loss = self.kl.apply_to, self.advantage, self.loss
        if place != "loss" and advantage.of != "rewards":
            raise ValueError(
                f"algorithm.kl.apply_to={place} needs algorithm.advantage.of=rewards, got {advantage.of}, "
                "which ignores the total reward; choose algorithm.kl.apply_to=loss"
            )
        if place != "reward_to_go":
            return
        if advantage.baseline != "batch_mean" or advantage.scale == "group_std":
            raise ValueError(
                "algorithm.kl.apply_to=reward_to_go gives each token an advantage of its own, compared over the batch: "
                "it needs algorithm.advantage.baseline=batch_mean and scale batch_std or none, "
                f"got {advantage.baseline} and {advantage.scale}"
            )
        if loss.name in ("gspo", "gmpo"):
            raise ValueError(
                f"algorithm.kl.apply_to=reward_to_go gives each token an advantage of its own, and algorithm.loss.name="
                f"{loss.name} wants one a completion; choose algorithm.kl.apply_to=reward or loss"
            )

    def _check_correction(self) -> None:
        if self.correction.level != "none" and self.sampling.is_cut:
            key = "top_p" if self.sampling.top_p < 1 else "top_k"
            raise ValueError(
                f"algorithm.sampling.{key}={getattr(self.sampling, key)} can't go with algorithm.correction.level="
                f"{self.correction.level}: the sampler's probabilities are those of the cut distribution, the "
                "trainer's of the whole one; leave out one of the two"
            )

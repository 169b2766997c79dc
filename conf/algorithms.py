"""The settings under `algorithm`: how a step samples, which loss it computes and how it updates the weights."""

from dataclasses import dataclass, field

from grpo.settings import (
    COMPLETION_LOSSES,
    AdvantageConfig,
    CorrectionConfig,
    KlConfig,
    LossConfig,
    above,
    at_least,
    at_most,
    below,
    one_of,
)


@dataclass
class SamplingConfig:
    """How training problems and completions are sampled.

    temperature          above 0; applies to the sampler and to the trainer's log-probabilities
    top_p                nucleus sampling, in (0, 1]; 1.0 keeps the whole distribution
    top_k                number of most likely tokens to sample from; 0 keeps the whole vocabulary
    max_resample_rounds  rounds of generation per step, >= 1; every round after the first replaces groups whose
                         advantages are all 0, such as those with equal rewards, by groups of new problems (dynamic
                         sampling); 1 replaces nothing
    candidates           problems to try for each problem that is trained on, >= 1; those with a pass rate closest
                         to one half are kept; 1 disables trials
    trial_completions    completions to generate for each candidate, >= 2
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_resample_rounds: int = 1
    candidates: int = 1
    trial_completions: int = 4

    @property
    def truncates_distribution(self) -> bool:
        """Whether top_p or top_k removes tokens from the sampler's distribution."""
        return self.top_p < 1 or self.top_k > 0

    def __post_init__(self) -> None:
        above("algorithm.sampling.temperature", self.temperature, 0)
        above("algorithm.sampling.top_p", self.top_p, 0)
        at_most("algorithm.sampling.top_p", self.top_p, 1)
        at_least("algorithm.sampling.top_k", self.top_k, 0)
        at_least("algorithm.sampling.max_resample_rounds", self.max_resample_rounds, 1)
        at_least("algorithm.sampling.candidates", self.candidates, 1)
        at_least("algorithm.sampling.trial_completions", self.trial_completions, 2)


@dataclass
class OptimizerConfig:
    """The optimizer and its learning-rate schedule.

    name           "adamw", or "adamw_8bit" with 8-bit moments (needs bitsandbytes)
    lr             peak learning rate, above 0
    beta1, beta2   decay rates of AdamW's first and second moments, in [0, 1)
    weight_decay   AdamW's decoupled weight decay, >= 0
    max_grad_norm  the gradient is scaled down to this norm, above 0
    schedule       "constant", "constant_with_warmup", "linear" or "cosine", as in transformers' get_scheduler
    warmup_steps   optimizer updates during which the learning rate rises from 0 to lr, >= 0; "constant" ignores it
    max_skipped    consecutive updates with a non-finite gradient, which are skipped, that end the run; >= 1
    """

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
        for key in ("beta1", "beta2"):
            at_least(f"algorithm.optimizer.{key}", getattr(self, key), 0)
            below(f"algorithm.optimizer.{key}", getattr(self, key), 1)
        at_least("algorithm.optimizer.weight_decay", self.weight_decay, 0)
        at_least("algorithm.optimizer.warmup_steps", self.warmup_steps, 0)
        above("algorithm.optimizer.max_grad_norm", self.max_grad_norm, 0)
        at_least("algorithm.optimizer.max_skipped", self.max_skipped, 1)
        one_of("algorithm.optimizer.schedule", self.schedule, ("constant", "constant_with_warmup", "linear", "cosine"))


@dataclass
class AlgorithmConfig:
    """One training step: num_prompts problems with group_size completions each, and num_epochs passes over them with
    num_minibatches optimizer updates each.

    num_prompts         problems per step, >= 1
    group_size          completions per problem, >= 2
    num_minibatches     equal parts of the step's completions, one optimizer update each; must divide
                        num_prompts * group_size
    num_epochs          passes over the completions of a step, >= 1
    micro_batch_tokens  largest number of distinct tokens in one forward and backward pass, >= 1; affects memory, not
                        the result
    sampling            SamplingConfig
    advantage           how rewards become advantages (AdvantageConfig)
    loss                the policy loss and its aggregation over tokens (LossConfig)
    kl                  the KL divergence from the reference (KlConfig)
    correction          importance weights between the sampler and the trainer (CorrectionConfig)
    optimizer           OptimizerConfig
    """

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
        """Completions per step that are trained on."""
        return self.num_prompts * self.group_size

    @property
    def num_updates(self) -> int:
        """Optimizer updates per step."""
        return self.num_epochs * self.num_minibatches

    @property
    def uses_reference(self) -> bool:
        """Whether anything needs the reference's log-probabilities."""
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
                f"{self.num_prompts} * {self.group_size} = {self.num_completions}; choose a divisor of it"
            )
        if self.advantage.of == "pass_at_k" and self.advantage.k > self.group_size:
            raise ValueError(
                f"algorithm.advantage.k={self.advantage.k} must be at most algorithm.group_size={self.group_size}; "
                "choose a smaller k or a larger group"
            )
        if self.sampling.max_resample_rounds > 1 and self.advantage.baseline == "batch_mean":
            raise ValueError(
                f"algorithm.sampling.max_resample_rounds={self.sampling.max_resample_rounds} cannot be combined with "
                "algorithm.advantage.baseline=batch_mean, with which groups of equal rewards have a gradient and would "
                "be thrown away; set it to 1, or choose another baseline"
            )
        self._check_kl()
        self._check_correction()

    def _check_kl(self) -> None:
        apply_to, advantage, loss = self.kl.apply_to, self.advantage, self.loss
        if apply_to != "loss" and advantage.of != "rewards":
            raise ValueError(
                f"algorithm.kl.apply_to={apply_to} requires algorithm.advantage.of=rewards, got {advantage.of}, "
                "which ignores the total reward; choose algorithm.kl.apply_to=loss"
            )
        if apply_to != "reward_to_go":
            return
        if advantage.baseline != "batch_mean":
            raise ValueError(
                "algorithm.kl.apply_to=reward_to_go requires algorithm.advantage.baseline=batch_mean and "
                "algorithm.advantage.scale=batch_std or none, because advantages then differ from token to token, "
                f"got {advantage.baseline} and {advantage.scale}"
            )
        if loss.name in COMPLETION_LOSSES:
            raise ValueError(
                f"algorithm.kl.apply_to=reward_to_go cannot be combined with algorithm.loss.name={loss.name}, which "
                "requires one advantage for all tokens of a completion; choose algorithm.kl.apply_to=reward or loss"
            )

    def _check_correction(self) -> None:
        if self.correction.level == "token" and self.loss.name in COMPLETION_LOSSES:
            raise ValueError(
                f"algorithm.correction.level=token cannot be combined with algorithm.loss.name={self.loss.name}, whose "
                "tokens all have the loss of their completion, so that their weights would average out; choose sequence"
            )
        if self.correction.level != "none" and self.sampling.truncates_distribution:
            key = "top_p" if self.sampling.top_p < 1 else "top_k"
            raise ValueError(
                f"algorithm.sampling.{key}={getattr(self.sampling, key)} cannot be combined with "
                f"algorithm.correction.level={self.correction.level}, because the sampler's probabilities are those of "
                "the truncated distribution and the trainer's those of the whole one; remove one of the two settings"
            )

"""The settings of a run and their checks. Hydra composes the YAML files in conf/ and validates them against these
dataclasses."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from conf.algorithms import AlgorithmConfig
from conf.trackers import TrackerConfig
from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from envs.code.task import Code
from envs.countdown.task import Countdown
from envs.mixed import Mixed, tasks_of
from envs.multiplication.task import Multiplication
from envs.no_problems import NoProblems
from envs.questions.task import Questions
from grpo.settings import above, at_least
from rewards.judge import JudgeConfig
from rewards.mix import RewardConfig

if TYPE_CHECKING:
    from envs.env import Env
else:
    Env = Any  # OmegaConf does not support protocols


@dataclass
class EvaluationConfig:
    """Accuracy on held-out problems.

    num_problems        problems at step 0 and at the end, each answered sampled and greedy; >= 1
    every               steps between interim evaluations, sampled only; 0 disables them
    interim_problems    problems in an interim evaluation, >= 1
    judge               a language model that labels reflection in completions; judge.model=null disables it
    judged_completions  completions of an evaluation that the judge labels, >= 1
    """

    num_problems: int = 512
    every: int = 10
    interim_problems: int = 128
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    judged_completions: int = 16

    def __post_init__(self) -> None:
        at_least("evaluation.num_problems", self.num_problems, 1)
        at_least("evaluation.every", self.every, 0)
        at_least("evaluation.interim_problems", self.interim_problems, 1)
        at_least("evaluation.judged_completions", self.judged_completions, 1)
        self.judge.check("evaluation.judge")


@dataclass
class CheckpointConfig:
    """When checkpoints are written.

    every  steps between checkpoints, >= 1
    keep   number of checkpoints to keep, >= 1; older ones are deleted
    """

    every: int = 20
    keep: int = 2

    def __post_init__(self) -> None:
        at_least("checkpoint.every", self.every, 1)
        at_least("checkpoint.keep", self.keep, 1)


@dataclass
class CostConfig:
    """What the hardware of a run costs.

    usd_per_hour      price of the whole machine in dollars per hour; null uses the price per GPU
    usd_per_gpu_hour  price of one GPU in dollars per hour; null uses the table in run/cost.py; a CPU is free
    watts             power of the whole machine, to report energy; null reports no energy
    """

    usd_per_hour: float | None = None
    usd_per_gpu_hour: float | None = None
    watts: float | None = None

    def __post_init__(self) -> None:
        for key in ("usd_per_hour", "usd_per_gpu_hour", "watts"):
            if (value := getattr(self, key)) is not None:
                at_least(f"cost.{key}", value, 0)


@dataclass
class BudgetConfig:
    """A limit on the cost of a run.

    usd  dollars, above 0; the run stops, with a checkpoint and a final evaluation, before it costs more; null for
         no limit
    """

    usd: float | None = None

    def __post_init__(self) -> None:
        if self.usd is not None:
            above("budget.usd", self.usd, 0)


@dataclass
class SweepConfig:
    """A sweep over settings.

    name      the runs are written to outputs/sweeps/<name>/; null derives the name from the keys that vary
    baseline  the variant that the others are compared with, such as "algorithm=grpo"; null for the first one
    """

    name: str | None = None
    baseline: str | None = None


@dataclass
class RunConfig:
    """The settings of a training run, with rewards or with examples.

    run         name of the run, whose outputs are written to outputs/<run>/
    seed        seed of the problems, of the order of examples and of sampling, >= 0
    num_tokens  the run ends earlier, with the step that reaches this many completion tokens; null for no limit
    model, env, reward, topology, tracker
                the groups in conf/, each with a dataclass of its own
    rollout, evaluation, checkpoint, cost, budget
                further settings, each with a dataclass in this file
    """

    run: str = MISSING
    seed: int = 0
    num_tokens: int | None = None
    model: ModelConfig = MISSING
    env: Env = MISSING
    reward: RewardConfig = MISSING
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def __post_init__(self) -> None:
        if self.num_tokens is not None:
            at_least("num_tokens", self.num_tokens, 1)
        at_least("seed", self.seed, 0)
        for task in tasks_of(self.env):
            if isinstance(task, Code) and 2 * task.time_limit >= self.reward.timeout_s:
                raise ValueError(
                    f"reward.timeout_s={self.reward.timeout_s} must be more than twice env.time_limit="
                    f"{task.time_limit}, since the hidden tests and the asserts of an answer have this limit each"
                )


@dataclass
class Config(RunConfig):
    """All settings of train_grpo.py.

    num_steps  training steps, >= 1
    algorithm  AlgorithmConfig
    sweep      SweepConfig
    """

    num_steps: int = 100
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    @property
    def rows_per_update(self) -> int:
        """Completions of an optimizer update, which the actor's ranks must share equally."""
        return self.algorithm.num_completions // self.algorithm.num_minibatches

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_steps", self.num_steps, 1)
        if self.model.lora.rank and self.algorithm.kl.ref_sync_steps:
            raise ValueError(
                f"algorithm.kl.ref_sync_steps={self.algorithm.kl.ref_sync_steps} cannot be combined with "
                f"model.lora.rank={self.model.lora.rank}, because the reference is then the model without its adapter; "
                "set one of them to 0"
            )
        sampling = self.algorithm.sampling
        if self.reward.shuffled and (self.algorithm.advantage.of == "pass_at_k" or sampling.candidates > 1):
            raise ValueError(
                "reward.shuffled=true cannot be combined with algorithm.advantage.of=pass_at_k or "
                "algorithm.sampling.candidates > 1, which read the correctness of completions and not their rewards; "
                "choose advantage.of=rewards or components, and candidates=1"
            )
        if self.topology.max_off_policy_steps and (sampling.candidates > 1 or sampling.max_resample_rounds > 1):
            raise ValueError(
                "topology.max_off_policy_steps=1 cannot be combined with algorithm.sampling.candidates > 1 or "
                "max_resample_rounds > 1, which choose problems with the weights of the current step; set both to 1"
            )


# The settings of each task are a dataclass; the defaults list of conf/env/*.yaml selects it by `<name>_schema`.
ENVS = {
    "code": Code,
    "countdown": Countdown,
    "mixed": Mixed,
    "multiplication": Multiplication,
    "none": NoProblems,
    "questions": Questions,
}


def store_schema() -> None:
    """Register the dataclasses with Hydra, which validates the YAML files against them."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, env in ENVS.items():
        store.store(group="env", name=f"{name}_schema", node=env)


store_schema()

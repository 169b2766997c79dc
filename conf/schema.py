"""The settings of a run and their checks. Hydra composes the YAML files in conf/ and validates them against these
dataclasses."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from conf.algorithms import AlgorithmConfig, OptimizerConfig
from conf.trackers import TrackerConfig
from envs.code.task import Code
from envs.countdown.task import Countdown
from envs.mixed import Mixed
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions
from grpo.settings import above, at_least, one_of
from rewards.judge import JudgeConfig
from rewards.mix import RewardConfig


@dataclass
class LoraConfig:
    """Low-rank adapters on all linear layers (LoRA, arXiv 2106.09685).

    rank   rank of the adapters; 0 trains all weights of the model instead
    alpha  the adapters' output is scaled by alpha / rank; above 0
    """

    rank: int = 0
    alpha: int = 32

    def __post_init__(self) -> None:
        at_least("model.lora.rank", self.rank, 0)
        above("model.lora.alpha", self.alpha, 0)


@dataclass
class ModelConfig:
    """The model and its token limits.

    name                    the name of the model in run names and reports
    path                    a Hub name or a folder
    local_path              a folder to use instead of `path` if it exists; null for none
    dtype                   "float32" or "bfloat16", for computation and for generation; trained weights are
                            float32 in either case
    attn_implementation     the attention of transformers, such as "sdpa" or "eager"
    prompt_style            how a task writes its prompts for this model: "base", "chat" or "tiny"
    max_prompt_tokens       longest prompt, in tokens, >= 1
    max_completion_tokens   longest completion, in tokens, >= 1
    gradient_checkpointing  recompute activations in the backward pass: less memory, more time
    frozen                  parameters whose name contains one of these strings are not trained
    lora                    LoraConfig
    """

    name: str = MISSING
    path: str = MISSING
    local_path: str | None = None
    dtype: str = "float32"
    attn_implementation: str = "sdpa"
    prompt_style: str = "base"
    max_prompt_tokens: int = 256
    max_completion_tokens: int = 1024
    gradient_checkpointing: bool = False
    frozen: list[str] = field(default_factory=list)
    lora: LoraConfig = field(default_factory=LoraConfig)

    @property
    def source(self) -> str:
        """The folder or Hub name to load, for transformers and vLLM."""
        if self.local_path is not None and (Path(self.local_path) / "config.json").is_file():
            return str(Path(self.local_path).resolve())
        return str(Path(self.path).resolve()) if Path(self.path).is_dir() else self.path

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        at_least("model.max_prompt_tokens", self.max_prompt_tokens, 1)
        at_least("model.max_completion_tokens", self.max_completion_tokens, 1)
        looks_local = self.source.startswith((".", "/", "~", "models/", "outputs/"))
        if looks_local and not (Path(self.source) / "config.json").is_file():
            raise ValueError(
                f"model.path={self.source} is not a folder with a config.json; give such a folder or a Hub name"
            )


@dataclass
class RolloutConfig:
    """How completions are generated.

    backend                 "vllm", or "transformers" for platforms without vLLM
    replicas                number of engines; null starts as many as the topology has room for (one on a CPU)
    tensor_parallel_size    processes per engine, each on a GPU of its own if there are GPUs
    threads                 CPU threads per worker
    max_num_seqs            completions that an engine generates at the same time
    kv_cache_gb             memory per worker for keys and values; null uses 1 GB on a CPU, and on a GPU what
                            gpu_memory_utilization leaves
    gpu_memory_utilization  share of the GPU's memory that vLLM may use
    """

    backend: str = "vllm"
    replicas: int | None = None
    tensor_parallel_size: int = 1
    threads: int = 1
    max_num_seqs: int = 256
    kv_cache_gb: float | None = None
    gpu_memory_utilization: float = 0.45

    def __post_init__(self) -> None:
        one_of("rollout.backend", self.backend, ("vllm", "transformers"))
        if self.replicas is not None:
            at_least("rollout.replicas", self.replicas, 1)
        at_least("rollout.tensor_parallel_size", self.tensor_parallel_size, 1)
        at_least("rollout.threads", self.threads, 1)
        at_least("rollout.max_num_seqs", self.max_num_seqs, 1)
        if self.tensor_parallel_size > 1 and self.backend != "vllm":
            raise ValueError(
                f"rollout.tensor_parallel_size={self.tensor_parallel_size} requires rollout.backend=vllm, got "
                f"{self.backend}; set it to 1 or choose vllm"
            )

    @property
    def cpu_cache_gb(self) -> float:
        """Memory for keys and values on a CPU, in GB. Left to itself, vLLM takes nearly all of the host's memory."""
        return 1.0 if self.kv_cache_gb is None else self.kv_cache_gb


@dataclass
class TopologyConfig:
    """Where the trio runs.

    device                "auto" uses GPUs if PyTorch finds any, otherwise the CPU
    ray_address           null starts a local Ray for this run; "auto" or "host:port" joins a cluster
    colocate              true: every role uses every GPU; false: some GPUs train, the others generate
    num_gpus              number of GPUs to use, null for all; on a CPU, the number of GPUs to simulate
    actor_ranks           processes that hold the actor (and as many the reference); null means one per GPU,
                          or one on a CPU
    enable_sleep_mode     if roles share a GPU, vLLM releases its memory while the actor trains
    offload_actor         keep the actor's weights and optimizer state in host memory while others use the GPU
    offload_reference     the same for the reference
    max_off_policy_steps  steps by which generation may run ahead of training, 0 or 1
    weight_transfer       "shm" (shared memory), "ipc" (on one GPU) or "nccl" (between GPUs)
    timeout_s             seconds to wait for a worker before the run is aborted
    max_restarts          how many times a run resumes from its last checkpoint after an actor process died
    threads               CPU threads per actor or reference process; null divides all cores among them
    *_gpu_share           the fraction of a GPU that Ray reserves for each role if they share it
    """

    name: str = "auto"
    device: str = "auto"
    ray_address: str | None = None
    colocate: bool = True
    num_gpus: int | None = None
    actor_ranks: int | None = None
    enable_sleep_mode: bool = True
    offload_actor: bool = False
    offload_reference: bool = False
    max_off_policy_steps: int = 0
    weight_transfer: str = "shm"
    timeout_s: float = 1800.0
    max_restarts: int = 3
    threads: int | None = None
    actor_gpu_share: float = 0.4
    rollout_gpu_share: float = 0.45
    reference_gpu_share: float = 0.15

    def __post_init__(self) -> None:
        one_of("topology.device", self.device, ("auto", "cpu", "cuda"))
        one_of("topology.weight_transfer", self.weight_transfer, ("shm", "ipc", "nccl"))
        if self.max_off_policy_steps not in (0, 1):
            raise ValueError(f"topology.max_off_policy_steps must be 0 or 1, got {self.max_off_policy_steps}")
        at_least("topology.max_restarts", self.max_restarts, 0)
        above("topology.timeout_s", self.timeout_s, 0)
        for key in ("num_gpus", "actor_ranks", "threads"):
            if (value := getattr(self, key)) is not None:
                at_least(f"topology.{key}", value, 1)
        if self.max_off_policy_steps and self.colocate:
            raise ValueError(
                "topology.max_off_policy_steps=1 requires topology.colocate=false, since generation and training "
                "run at the same time"
            )

    def num_threads(self, ranks: int) -> int:
        """CPU threads of each of `ranks` processes."""
        return self.threads or max(1, (os.cpu_count() or 1) // ranks)


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
class Config:
    """All settings of train_grpo.py.

    run         name of the run, whose outputs are written to outputs/<run>/
    seed        seed of the problems and of sampling, >= 0
    num_steps   training steps, >= 1
    num_tokens  the run ends earlier, with the step that reaches this many completion tokens; null for no limit
    model, env, reward, algorithm, topology, tracker
                the groups in conf/, each with a dataclass of its own
    rollout, evaluation, checkpoint, cost, budget, sweep
                further settings, each with a dataclass in this file
    """

    run: str = MISSING
    seed: int = 0
    num_steps: int = 100
    num_tokens: int | None = None
    model: ModelConfig = MISSING
    env: Any = MISSING
    reward: RewardConfig = MISSING
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        at_least("num_steps", self.num_steps, 1)
        if self.num_tokens is not None:
            at_least("num_tokens", self.num_tokens, 1)
        at_least("seed", self.seed, 0)
        if self.model.lora.rank and self.algorithm.kl.ref_sync_steps:
            raise ValueError(
                f"algorithm.kl.ref_sync_steps={self.algorithm.kl.ref_sync_steps} cannot be combined with "
                f"model.lora.rank={self.model.lora.rank}, because the reference is then the model without its adapter; "
                "set one of them to 0"
            )
        sampling = self.algorithm.sampling
        if self.topology.max_off_policy_steps and (sampling.candidates > 1 or sampling.max_resample_rounds > 1):
            raise ValueError(
                "topology.max_off_policy_steps=1 cannot be combined with algorithm.sampling.candidates > 1 or "
                "max_resample_rounds > 1, which choose problems with the weights of the current step; set both to 1"
            )


@dataclass
class SftConfig:
    """All settings of train_sft.py.

    model_path  a Hub name or a folder to start from
    data        a JSONL file whose rows have the fields `prompt` and `completion`
    output      the folder in which the model and its tokenizer are saved at the end
    epochs      passes over the data, above 0; may be fractional
    batch_size  rows per optimizer update
    max_length  longest row, prompt and completion, in tokens; a longer row is an error
    seed        seed of the order of the rows
    log_every   steps between printed lines
    optimizer   OptimizerConfig
    """

    model_path: str = MISSING
    data: str = MISSING
    output: str = MISSING
    epochs: float = 1.0
    batch_size: int = 64
    max_length: int = 512
    seed: int = 0
    log_every: int = 100
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(lr=1e-5, schedule="cosine", weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        if not Path(self.data).is_file():
            raise ValueError(f"data={self.data}: no such file; give a JSONL file with the fields prompt and completion")
        for key in ("epochs", "batch_size", "max_length", "log_every"):
            above(key, getattr(self, key), 0)


# The settings of each task are a dataclass; the defaults list of conf/env/*.yaml selects it by `<name>_schema`.
ENVS = {"code": Code, "countdown": Countdown, "mixed": Mixed, "multiplication": Multiplication, "questions": Questions}


def store_schema() -> None:
    """Register the dataclasses with Hydra, which validates the YAML files against them."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(name="sft_schema", node=SftConfig)
    for name, env in ENVS.items():
        store.store(group="env", name=f"{name}_schema", node=env)


store_schema()

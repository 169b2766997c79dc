"""Every setting of a run, with its check. Hydra composes the YAML files of conf/ over these classes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from envs.code import Code
from envs.countdown import Countdown
from envs.mixed import Mixed
from envs.multiplication import Multiplication
from envs.questions import Questions
from rewards.mix import RewardConfig


@dataclass
class ModelConfig:
    """path: a Hub name or a folder; local_path: a folder that is used instead where it exists.
    prompt_style: how the task speaks to this model, "base" or "tiny"."""

    name: str = MISSING
    path: str = MISSING
    local_path: str | None = None
    dtype: str = "float32"
    attention: str = "sdpa"
    prompt_style: str = "base"
    max_prompt_tokens: int = 256
    max_completion_tokens: int = 1024
    gradient_checkpointing: bool = False
    frozen: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        """What transformers and vLLM are given."""
        if self.local_path is not None and (Path(self.local_path) / "config.json").is_file():
            return str(Path(self.local_path).resolve())
        return str(Path(self.path).resolve()) if Path(self.path).is_dir() else self.path

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        at_least("model.max_prompt_tokens", self.max_prompt_tokens, 1)
        at_least("model.max_completion_tokens", self.max_completion_tokens, 1)
        looks_local = self.source.startswith((".", "/", "~", "models/", "outputs/"))
        if looks_local and not (Path(self.source) / "config.json").is_file():
            raise ValueError(f"model.path={self.source}: no such model folder; give a folder with a config.json")


@dataclass
class OptimizerConfig:
    """AdamW; schedule is a name of transformers' get_scheduler, warmup_updates its warm-up."""

    lr: float = 1e-6
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    schedule: str = "constant_with_warmup"
    warmup_updates: int = 0

    def __post_init__(self) -> None:
        above("algorithm.optimizer.lr", self.lr, 0)
        above("algorithm.optimizer.max_grad_norm", self.max_grad_norm, 0)
        one_of("algorithm.optimizer.schedule", self.schedule, ("constant", "constant_with_warmup", "linear", "cosine"))


# What grpo/advantages.py and grpo/losses.py know; said again here, because importing them is
# importing torch.
BASELINES = ("group_mean", "leave_one_out", "batch_mean")
SCALES = ("group_std", "batch_std", "none")
AGGREGATIONS = ("token", "sequence", "constant")


@dataclass
class AlgorithmConfig:
    """One step: num_prompts problems, group_size completions each, num_updates optimizer updates.
    micro_batch_tokens bounds the tokens of one forward and backward pass; it changes no result.
    baseline and scale make advantages of rewards (grpo/advantages.py), aggregation weighs the tokens
    of the loss (grpo/losses.py)."""

    name: str = "grpo"
    num_prompts: int = 32
    group_size: int = 8
    num_updates: int = 1
    micro_batch_tokens: int = 8192
    temperature: float = 1.0
    baseline: str = "group_mean"
    scale: str = "group_std"
    std_epsilon: float = 1e-4
    clip_low: float = 0.2
    clip_high: float = 0.2
    aggregation: str = "token"
    kl_coef: float = 0.001
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    @property
    def num_completions(self) -> int:
        return self.num_prompts * self.group_size

    @property
    def uses_reference(self) -> bool:
        return self.kl_coef > 0

    def __post_init__(self) -> None:
        one_of("algorithm.baseline", self.baseline, BASELINES)
        one_of("algorithm.scale", self.scale, SCALES)
        at_least("algorithm.num_prompts", self.num_prompts, 1)
        at_least("algorithm.group_size", self.group_size, 2)
        at_least("algorithm.num_updates", self.num_updates, 1)
        at_least("algorithm.micro_batch_tokens", self.micro_batch_tokens, 1)
        at_least("algorithm.kl_coef", self.kl_coef, 0)
        above("algorithm.temperature", self.temperature, 0)
        above("algorithm.clip_low", self.clip_low, 0)
        above("algorithm.clip_high", self.clip_high, 0)
        one_of("algorithm.aggregation", self.aggregation, AGGREGATIONS)
        if self.num_completions % self.num_updates:
            raise ValueError(
                f"algorithm.num_updates={self.num_updates} must divide num_prompts * group_size = "
                f"{self.num_prompts} * {self.group_size} = {self.num_completions}"
            )


@dataclass
class RolloutConfig:
    """kv_cache_gb: memory for keys and values, per worker; on a GPU null lets vLLM take
    gpu_memory_share of the device. threads: CPU threads of one worker."""

    backend: str = "vllm"
    replicas: int = 1
    threads: int = 1
    max_sequences: int = 256
    kv_cache_gb: float | None = 1.0
    gpu_memory_share: float = 0.45

    def __post_init__(self) -> None:
        one_of("rollout.backend", self.backend, ("vllm", "transformers"))
        at_least("rollout.replicas", self.replicas, 1)
        at_least("rollout.threads", self.threads, 1)
        at_least("rollout.max_sequences", self.max_sequences, 1)


@dataclass
class TopologyConfig:
    """Where the trio runs. device "auto" takes a GPU where PyTorch sees one. ray_address: null
    starts a local Ray for this run, "auto" or "host:port" joins a cluster. The shares are the
    fractions of a GPU that Ray reserves for each role. threads: CPU threads of the actor and of
    the reference, null for all cores."""

    name: str = "auto"
    device: str = "auto"
    ray_address: str | None = None
    threads: int | None = None
    actor_gpu_share: float = 0.4
    rollout_gpu_share: float = 0.45
    reference_gpu_share: float = 0.15

    def __post_init__(self) -> None:
        one_of("topology.device", self.device, ("auto", "cpu", "cuda"))

    @property
    def num_threads(self) -> int:
        return self.threads or os.cpu_count() or 1


@dataclass
class TrackerConfig:
    """name "none" keeps to the files of the run folder; "wandb" logs there too, offline where
    there is no account."""

    name: str = "wandb"
    project: str = "ahazero"
    group: str | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        one_of("tracker.name", self.name, ("wandb", "none"))
        one_of("tracker.mode", self.mode, ("auto", "online", "offline"))


@dataclass
class EvaluationConfig:
    """Held-out accuracy: num_problems at step 0 and at the end, sampled and greedy;
    interim_problems every `every` steps, sampled only (0 switches that off)."""

    num_problems: int = 512
    every: int = 10
    interim_problems: int = 128

    def __post_init__(self) -> None:
        at_least("evaluation.num_problems", self.num_problems, 1)
        at_least("evaluation.every", self.every, 0)
        at_least("evaluation.interim_problems", self.interim_problems, 1)


@dataclass
class CheckpointConfig:
    every: int = 20
    keep: int = 2

    def __post_init__(self) -> None:
        at_least("checkpoint.every", self.every, 1)
        at_least("checkpoint.keep", self.keep, 1)


@dataclass
class Config:
    run: str = MISSING
    seed: int = 0
    num_steps: int = 100
    usd_per_hour: float = 0.0
    model: ModelConfig = MISSING
    env: Any = MISSING
    reward: RewardConfig = MISSING
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        at_least("num_steps", self.num_steps, 1)
        at_least("seed", self.seed, 0)
        at_least("usd_per_hour", self.usd_per_hour, 0)


@dataclass
class SftConfig:
    """The settings of train_sft.py.

    model_path: a HF folder or Hub name to start from; data: JSONL rows of `prompt` and `completion`,
    the loss falls on the completion alone; output: the HF folder that is written at the end."""

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
            raise ValueError(f"data={self.data}: no such file; give JSONL rows of prompt and completion")
        for key in ("epochs", "batch_size", "max_length", "log_every"):
            above(key, getattr(self, key), 0)


def at_least(key: str, value: float, least: float) -> None:
    if value < least:
        raise ValueError(f"{key} must be >= {least}, got {value}")


def above(key: str, value: float, bound: float) -> None:
    if value <= bound:
        raise ValueError(f"{key} must be > {bound}, got {value}")


def one_of(key: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value}")


# A task's settings are its own class; conf/env/*.yaml says which one it is made of.
ENVS = {"code": Code, "countdown": Countdown, "mixed": Mixed, "multiplication": Multiplication, "questions": Questions}


def store_schema() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(name="sft_schema", node=SftConfig)
    for name, env in ENVS.items():
        store.store(group="env", name=f"{name}_schema", node=env)


store_schema()

"""What one GPU holds while it generates and while it trains, and whether that fits."""

from dataclasses import dataclass

from conf.sft import TrainingConfig
from tools.planner.memory import (
    COMMUNICATION,
    CONTEXT,
    CUDA_GRAPHS,
    FRAGMENTATION,
    GIB,
    RolloutMemory,
    model_bytes,
)
from tools.planner.shape import Shape
from tools.planner.trace import UpdateMemory

KV_CACHE = "KV cache"


@dataclass(frozen=True)
class GpuSplit:
    """How the GPUs are divided among the trio, and the settings that decide their memory besides the model.

    topology            name of the topology
    trainers            GPUs that hold the actor and the reference
    generators          GPUs that run vLLM; the same ones as `trainers` if colocated
    colocated           every role uses every GPU
    checkpointing       gradient checkpointing
    optimizer           "adamw" or "adamw_8bit"
    offload_actor       the actor's weights and optimizer state are in host memory while vLLM generates
    offload_reference   the reference's weights are in host memory except while it computes log-probabilities
    sleep_mode          vLLM releases its memory while the actor trains
    """

    topology: str
    trainers: int
    generators: int
    colocated: bool
    checkpointing: bool
    optimizer: str
    offload_actor: bool = False
    offload_reference: bool = False
    sleep_mode: bool = True

    @property
    def weight_transfer(self) -> str:
        """`topology.weight_transfer`, within a GPU or between GPUs."""
        return "ipc" if self.colocated else "nccl"

    @property
    def num_gpus(self) -> int:
        return max(self.trainers, self.generators) if self.colocated else self.trainers + self.generators


@dataclass(frozen=True)
class GpuMemory:
    """The memory model of one GPU. capacity: its memory in bytes."""

    cfg: TrainingConfig
    shape: Shape
    engine: RolloutMemory
    capacity: float

    @property
    def usable(self) -> float:
        return self.capacity * (1 - FRAGMENTATION)

    @property
    def has_reference(self) -> bool:
        """Whether the reference is a model of its own. With LoRA it is the actor without its adapter."""
        return self.cfg.algorithm.uses_reference and not self.cfg.model.lora.rank

    @property
    def vllm(self) -> float:
        """Bytes that vLLM takes with the run's settings: a KV cache of a fixed size, or a fraction of the GPU."""
        rollout = self.cfg.rollout
        if rollout.kv_cache_gb is not None:
            return self.engine.fixed + rollout.kv_cache_gb * GIB
        return rollout.gpu_memory_utilization * self.capacity

    @property
    def vllm_at_start(self) -> float:
        """Bytes that must be free when vLLM starts: what it takes, and at least its fraction of the GPU, which it
        checks even if its KV cache has a fixed size."""
        return max(self.vllm, self.cfg.rollout.gpu_memory_utilization * self.capacity)

    def training(self, split: GpuSplit, actor: UpdateMemory) -> dict[str, float]:
        """Bytes by part while the GPU trains. actor: the memory of one rank."""
        passes = actor.passes
        parts = {
            "actor: weights": actor.weights,
            "actor: gradients": actor.gradients,
            "actor: optimizer": actor.state,
            "actor: autocast copies": passes.copies,
            "actor: activations": passes.activations,
        }
        if actor.step > passes.total:  # passes and step come one after the other: the larger one counts
            parts |= {"actor: autocast copies": 0.0, "actor: activations": 0.0, "actor: optimizer's step": actor.step}
        parts |= self._reference(split)
        if split.colocated:
            parts |= {"rollout: asleep": CUDA_GRAPHS} if split.sleep_mode else {"rollout: awake": self.vllm}
        return parts | self._contexts(split, trains=True)

    def generating(self, split: GpuSplit, actor: UpdateMemory) -> dict[str, float]:
        """Bytes by part while the GPU generates, without the KV cache. actor: the memory of one rank."""
        parts: dict[str, float] = {}
        if split.colocated:
            parts = {"actor: weights, optimizer": 0.0 if split.offload_actor else actor.kept} | self._reference(split)
        parts |= self._contexts(split, trains=False)
        parts |= {"rollout: weights": self.engine.weights, "rollout: activations": self.engine.activations}
        return parts | {"rollout: CUDA graphs": self.engine.graphs}

    def problem(self, training: dict[str, float], generating: dict[str, float]) -> str | None:
        """Why these parts do not fit on the GPU, in one line; None if they do. `generating` has its KV cache."""
        if sum(training.values()) > self.usable:
            return self._shortage("training", sum(training.values()))
        without_cache = sum(generating.values()) - generating[KV_CACHE]
        if generating[KV_CACHE] < self.engine.kv_sequence:
            needed = without_cache + self.engine.kv_sequence
            if needed <= self.usable:
                least = (self.engine.fixed + self.engine.kv_sequence) / GIB
                given = (self.engine.fixed + generating[KV_CACHE]) / GIB
                return f"vLLM needs {least:.1f} GiB for a single sequence but gets {given:.1f}"
            return self._shortage("generating", needed)
        if sum(generating.values()) > self.usable:
            return self._shortage("generating", sum(generating.values()))
        return None

    def _shortage(self, phase: str, needed: float) -> str:
        return f"{phase} needs {needed / GIB:.1f} GiB of {self.usable / GIB:.1f}"

    def _reference(self, split: GpuSplit) -> dict[str, float]:
        if not self.has_reference or split.offload_reference:
            return {}
        return {"reference: weights": model_bytes(self.shape, self.cfg.model.dtype)}

    def _contexts(self, split: GpuSplit, trains: bool) -> dict[str, float]:
        """One process per role on the GPU."""
        processes = 1 + (self.has_reference if split.colocated or trains else 0) + split.colocated
        communication = COMMUNICATION if split.num_gpus > 1 else 0
        return {"CUDA contexts, NCCL": processes * CONTEXT + communication}

"""What a run needs besides its GPUs: host memory, shared memory and disk for its checkpoints."""

from dataclasses import dataclass

from conf.sft import TrainingConfig
from tools.planner.fit import GpuSplit
from tools.planner.memory import GIB, model_bytes, sharded
from tools.planner.shape import Shape
from tools.planner.trace import UpdateMemory

PROCESS = 1.2 * GIB  # resident memory of a worker that has imported torch or vLLM, without a model


@dataclass(frozen=True)
class HostNeeds:
    """Bytes. memory: of all processes together; shared_memory: in /dev/shm, part of `memory`; checkpoints: on disk,
    those that are kept and the one that is being written."""

    memory: float
    shared_memory: float
    checkpoints: float


def host_needs(cfg: TrainingConfig, shape: Shape, split: GpuSplit, actor: UpdateMemory, on_gpu: bool) -> HostNeeds:
    """actor: the memory of the whole actor, not of one rank."""
    weights = model_bytes(shape, cfg.model.dtype)
    has_reference = cfg.algorithm.uses_reference and not cfg.model.lora.rank
    reference = weights if has_reference else 0.0
    shared = 2.0 * weights  # two versions of the weights: one is written while the other is read
    processes = 1 + split.trainers * (1 + has_reference) + split.generators
    if on_gpu:  # a copy of what is being loaded and one of what is being published, and what is offloaded
        models = 2.0 * weights
        models += actor.kept if split.offload_actor else 0.0
        models += reference if split.offload_reference else 0.0
    else:
        engines = split.generators * (weights + cfg.rollout.cpu_cache_gb * GIB)
        models = split.trainers * sharded(actor, shape, split.trainers).peak + reference + engines
    trained = actor.gradients  # float32, as the trained weights are
    checkpoint = weights + trained + actor.state + (reference if cfg.algorithm.kl.ref_sync_steps else 0.0)
    return HostNeeds(processes * PROCESS + models + shared, shared, (cfg.checkpoint.keep + 1) * checkpoint)

"""What a run needs, from its settings and the number of its model's parameters. About, never to the byte."""

from dataclasses import dataclass

from conf.schema import Config

GB = 2**30
PROCESS_GB = 1.2  # of a worker that has loaded torch, or vLLM, and a model of no size
ADAPTER_SHARE = 1e-3  # of the parameters that a rank of an adapter on all linear layers adds: 0.06-0.11% in Qwen2.5
WEIGHT, GRADIENT = 4, 4  # bytes of what trains: float32
OPTIMIZER = {"adamw": 8, "adamw_8bit": 2}  # bytes a parameter: two moments


@dataclass(frozen=True)
class Needs:
    """In GB. weights: of the model as it is generated with. trainer: weights, gradients and optimizer of the
    actor; reference: the other policy's; shared: in shared memory, two versions of the weights at once.
    checkpoints: those that are kept and the one being written. host: memory of all processes."""

    weights: float
    trainer: float
    reference: float
    shared: float
    checkpoints: float
    host: float


def needs_of(cfg: Config, parameters: int, on_gpu: bool) -> Needs:
    size = parameters / GB
    lora, moments = cfg.model.lora.rank, OPTIMIZER[cfg.algorithm.optimizer.name]
    weights = size * (2 if cfg.model.dtype == "bfloat16" else 4)
    trained = size * lora * ADAPTER_SHARE if lora else size
    base = weights if lora else 0.0
    trainer = base + trained * (WEIGHT + GRADIENT + moments)
    has_reference = cfg.algorithm.uses_reference and not lora
    reference = weights if has_reference else 0.0
    checkpoint = weights + trained * (WEIGHT + moments) + (reference if cfg.algorithm.kl.ref_sync_steps else 0.0)
    shared = 2 * weights
    replicas = cfg.rollout.replicas or 1
    processes = PROCESS_GB * (2 + replicas + has_reference)
    # On a GPU the host still holds what is being loaded and what is being published.
    models = 2 * weights if on_gpu else trainer + reference + replicas * (weights + cfg.rollout.cpu_cache_gb)
    return Needs(
        weights, trainer, reference, shared, (cfg.checkpoint.keep + 1) * checkpoint, processes + models + shared
    )


def generation_gb(cfg: Config, needs: Needs, gpu_gb: float) -> float:
    """What vLLM takes of a GPU: a cache of a given size beside the weights, or its share of all."""
    if cfg.rollout.kv_cache_gb is not None:
        return needs.weights + cfg.rollout.kv_cache_gb
    return cfg.rollout.gpu_memory_utilization * gpu_gb

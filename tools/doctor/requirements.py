"""What a run needs as configured, by the planner's memory model.

The planner traces the actor with torch, and a broken torch may end its process, so the doctor runs this file in a
process of its own: `python -m tools.doctor.requirements GPUS OVERRIDES...`, where GPUS is a JSON list of pairs of name
and MiB, empty for a run on the CPU.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from conf.compose import compose_training
from conf.launch import checking_settings
from conf.sft import TrainingConfig
from tools.doctor.facts import Requirements
from tools.planner.fit import KV_CACHE, GpuMemory, GpuSplit
from tools.planner.hardware import batched_tokens
from tools.planner.host import host_needs
from tools.planner.memory import GIB, actor_memory, rollout_memory, sharded
from tools.planner.shape import Shape, config_of, shape_of
from tools.planner.trace import UpdateMemory
from workers.placement import check_ranks, make_placement


def requirements(cfg: TrainingConfig, gpus: Sequence[tuple[str, float]]) -> Requirements:
    """gpus: name and MiB of each GPU of this machine, empty for a run on the CPU.

    Raises:
        ValueError: the model's config is not available, or the topology does not fit the number of GPUs.
    """
    split = configured_split(cfg, len(gpus) or None)
    config = config_of(cfg.model)
    shape = shape_of(config)
    actor = actor_memory(config, cfg.model, cfg.algorithm, micro_batch_rows(cfg, split.trainers), foreach=bool(gpus))
    host = host_needs(cfg, shape, split, actor, on_gpu=bool(gpus))
    on_gpus = [gpu_memory(cfg, shape, name, mib) for name, mib in gpus]
    training, generating, usable, problem = 0.0, 0.0, 0.0, None
    if on_gpus:
        smallest = min(on_gpus, key=lambda memory: memory.capacity)
        training, generating, problem = fit(smallest, split, actor)
        usable = smallest.usable
    return Requirements(
        weights=shape.parameters * (2 if cfg.model.dtype == "bfloat16" else 4) / GIB,
        training_state=(actor.kept + actor.gradients) / GIB,
        training=training / GIB,
        generating=generating / GIB,
        usable=usable / GIB,
        vllm=tuple(memory.vllm_at_start / GIB for memory in on_gpus),
        problem=problem,
        host=host.memory / GIB,
        shared_memory=host.shared_memory / GIB,
        checkpoints=host.checkpoints / GIB,
    )


def configured_split(cfg: TrainingConfig, gpus: int | None) -> GpuSplit:
    """The split that the run itself makes of these GPUs; None for a run on the CPU."""
    topology = cfg.topology
    count = gpus if gpus is not None else topology.num_gpus
    placement = make_placement(topology, cfg.rollout, count)
    check_ranks(topology, cfg.algorithm, cfg.rows_per_update, placement)
    return GpuSplit(
        topology=topology.name,
        trainers=len(placement.actor),
        generators=len(placement.rollout) * cfg.rollout.tensor_parallel_size,
        colocated=topology.colocate,
        checkpointing=cfg.model.gradient_checkpointing,
        optimizer=cfg.algorithm.optimizer.name,
        offload_actor=topology.offload_actor,
        offload_reference=topology.offload_reference,
        sleep_mode=topology.enable_sleep_mode,
    )


def micro_batch_rows(cfg: TrainingConfig, ranks: int) -> int:
    """Completions at their limits in the largest micro-batch of a rank."""
    algorithm, model = cfg.algorithm, cfg.model
    most = algorithm.num_completions // algorithm.num_minibatches // ranks
    within_limit = algorithm.micro_batch_tokens // (model.max_prompt_tokens + model.max_completion_tokens)
    return max(1, min(within_limit, most))


def gpu_memory(cfg: TrainingConfig, shape: Shape, name: str, mib: float) -> GpuMemory:
    rollout = cfg.rollout
    tokens = batched_tokens(name, mib)
    engine = rollout_memory(shape, cfg.model, rollout.max_num_seqs, tokens, rollout.tensor_parallel_size)
    return GpuMemory(cfg, shape, engine, mib * 2**20)


def fit(memory: GpuMemory, split: GpuSplit, actor: UpdateMemory) -> tuple[float, float, str | None]:
    """Bytes while one GPU trains and while it generates, and why they do not fit (None if they do)."""
    rank = sharded(actor, memory.shape, split.trainers)
    training, generating = memory.training(split, rank), memory.generating(split, rank)
    generating[KV_CACHE] = memory.vllm - memory.engine.fixed
    return sum(training.values()), sum(generating.values()), memory.problem(training, generating)


def main() -> None:
    gpus, *overrides = sys.argv[1:]
    with checking_settings():
        found = requirements(compose_training(overrides), json.loads(gpus))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()

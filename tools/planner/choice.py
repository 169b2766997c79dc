"""Every way to lay a run out on N GPUs, what fits, and which is the fastest."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conf.schema import Config
from run.cost import price_of
from tools.planner import roofline
from tools.planner.hardware import Gpu
from tools.planner.memory import (
    COMMUNICATION,
    CONTEXT,
    CUDA_GRAPHS,
    FRAGMENTATION,
    ActorTable,
    RolloutMemory,
    actor_table,
    model_bytes,
    rollout_memory,
    sharded,
)
from tools.planner.roofline import Job
from tools.planner.shape import Shape, config_of, shape_of
from tools.planner.trace import UpdateMemory

MOST_MICRO_BATCH_TOKENS = 32768  # more make a GPU no busier
MOST_ROLLOUT_SHARE = 0.9  # of the GPU's memory that vLLM is given
ASYNC_GAIN = 0.9  # async trains on completions of older weights: only if it takes less than this of the time


@dataclass(frozen=True)
class Layout:
    """trainers, generators: GPUs; the same ones where the roles are shared. offload: the actor's weights and
    optimizer wait in the host's memory while the samplers work."""

    topology: str
    trainers: int
    generators: int
    checkpointing: bool
    optimizer: str
    offload: bool = False

    @property
    def shared(self) -> bool:
        return self.topology in ("one_gpu", "colocated")


@dataclass(frozen=True)
class Plan:
    """A layout and what it comes to.

    generating, training   bytes by part, on a GPU that generates and on one that trains
    actor                  one rank's memory with the micro-batch below
    problem                why it does not fit, None where it does; then the rest means nothing
    micro_batch_tokens     the largest that fits
    sequences              that an engine runs at once, each at its limit
    seconds                of a step, by phase; hours and usd: of the run, evaluations included
    """

    layout: Layout
    generating: dict[str, float]
    training: dict[str, float]
    actor: UpdateMemory
    problem: str | None = None
    micro_batch_tokens: int = 0
    gpu_memory_utilization: float = 0.0
    sequences: int = 0
    seconds: dict[str, float] | None = None
    step_seconds: float = math.inf
    hours: float = math.inf
    usd: float = math.inf


@dataclass(frozen=True)
class Planner:
    """A run to be laid out. tables: the actor's memory by (gradient checkpointing, optimizer)."""

    cfg: Config
    gpu: Gpu
    count: int
    shape: Shape
    rollout: RolloutMemory
    tables: dict[tuple[bool, str], ActorTable]

    @property
    def usable(self) -> float:
        return self.gpu.memory * (1 - FRAGMENTATION)

    @property
    def has_reference(self) -> bool:
        """As a model of its own: an adapter's base is in the actor."""
        return self.cfg.algorithm.uses_reference and not self.cfg.model.lora.rank

    def plans(self) -> list[Plan]:
        """All layouts; those with an optimizer of 8 bits only where nothing else fits."""
        for optimizer in dict.fromkeys([self.cfg.algorithm.optimizer.name, "adamw_8bit"]):
            plans = [self.plan(layout) for layout in layouts(self.count, optimizer) if self.can_share(layout)]
            if any(plan.problem is None for plan in plans):
                break
        return plans

    def can_share(self, layout: Layout) -> bool:
        """Whether the completions of an update can be dealt out to the training GPUs evenly, and an optimizer of
        8 bits is whole."""
        algorithm = self.cfg.algorithm
        even = algorithm.num_completions // algorithm.num_minibatches % layout.trainers == 0
        whole = layout.trainers == 1 and not layout.offload
        return even and (whole or layout.optimizer != "adamw_8bit")

    def plan(self, layout: Layout) -> Plan:
        training, rows = self._training(layout)
        generating = self._generating(layout, rows)
        actor = self._actor(layout, max(rows, 1))
        resident = sum(generating.values()) - generating["KV cache"]
        partial = Plan(layout, generating, training, actor)
        if rows == 0:
            return replace(partial, problem=_too_much("training", sum(training.values()), self.usable))
        if generating["KV cache"] < self.rollout.kv_sequence:
            return replace(partial, problem=_too_much("generating", resident + self.rollout.kv_sequence, self.usable))
        share = math.floor(100 * (self.rollout.fixed + generating["KV cache"]) / self.gpu.memory) / 100
        wanted = min(self.cfg.rollout.max_num_seqs, math.ceil(self.cfg.algorithm.num_completions / layout.generators))
        fitting = replace(
            partial,
            micro_batch_tokens=rows * self._row_tokens,
            gpu_memory_utilization=share,
            sequences=min(wanted, int(generating["KV cache"] / self.rollout.kv_sequence)),
        )
        return self._timed(fitting)

    @property
    def _row_tokens(self) -> int:
        return self.cfg.model.max_prompt_tokens + self.cfg.model.max_completion_tokens

    def _actor(self, layout: Layout, rows: int) -> UpdateMemory:
        table = self.tables[layout.checkpointing, layout.optimizer]
        return sharded(table.at(rows), self.shape, layout.trainers)

    def _training(self, layout: Layout) -> tuple[dict[str, float], int]:
        """Bytes by part while a GPU trains, with the most rows of a micro-batch that fit; 0: not even one,
        whose bytes these are."""
        algorithm = self.cfg.algorithm
        most = min(
            MOST_MICRO_BATCH_TOKENS // self._row_tokens,
            algorithm.num_completions // algorithm.num_minibatches // layout.trainers,
        )
        for rows in range(max(most, 1), 0, -1):
            parts = self._training_parts(layout, rows)
            if sum(parts.values()) <= self.usable:
                return parts, rows
        return parts, 0

    def _training_parts(self, layout: Layout, rows: int) -> dict[str, float]:
        actor = self._actor(layout, rows)
        passes = actor.passes
        parts = {
            "actor: weights": actor.weights,
            "actor: gradients": actor.gradients,
            "actor: optimizer": actor.state,
            "actor: autocast copies": passes.copies,
            "actor: activations": passes.activations,
        }
        if actor.step > passes.total:  # they take turns: the larger of the two counts
            parts |= {"actor: autocast copies": 0.0, "actor: activations": 0.0, "actor: optimizer's step": actor.step}
        asleep = {"rollout: asleep": CUDA_GRAPHS} if layout.shared else {}
        return parts | self._reference() | asleep | self._contexts(layout, trains=True)

    def _generating(self, layout: Layout, rows: int) -> dict[str, float]:
        """Bytes by part while a GPU generates; the KV cache takes what is left, up to vLLM's largest share."""
        parts: dict[str, float] = {}
        if layout.shared:
            kept = 0.0 if layout.offload else self._actor(layout, max(rows, 1)).kept
            parts = {"actor: weights, optimizer": kept} | self._reference()
        parts |= self._contexts(layout, trains=False)
        engine = self.rollout
        parts |= {"rollout: weights": engine.weights, "rollout: activations": engine.activations}
        parts |= {"rollout: CUDA graphs": engine.graphs}
        left = self.usable - sum(parts.values())
        return parts | {"KV cache": max(0.0, min(left, MOST_ROLLOUT_SHARE * self.gpu.memory - engine.fixed))}

    def _reference(self) -> dict[str, float]:
        return {"reference: weights": model_bytes(self.shape, self.cfg.model.dtype)} if self.has_reference else {}

    def _contexts(self, layout: Layout, trains: bool) -> dict[str, float]:
        """One process for each role on the GPU."""
        processes = 1 + (self.has_reference if layout.shared or trains else 0) + layout.shared
        talking = COMMUNICATION if self.count > 1 else 0
        return {"CUDA contexts, NCCL": processes * CONTEXT + talking}

    def _timed(self, plan: Plan) -> Plan:
        layout, algorithm, evaluation = plan.layout, self.cfg.algorithm, self.cfg.evaluation
        job = Job(self.gpu, self.shape, self.cfg.model, algorithm)
        ranks, micro = layout.trainers, plan.micro_batch_tokens

        def generation(completions: float, prompts: float) -> float:
            return roofline.generation_seconds(job, completions, prompts, layout.generators, plan.sequences)

        seconds = {
            "generate": generation(algorithm.num_completions, algorithm.num_prompts),
            "log-probabilities": roofline.logprobs_seconds(job, ranks, micro),
            "update": roofline.update_seconds(job, ranks, micro, layout.checkpointing),
            "weight sync": roofline.sync_seconds(job, layout.shared, ranks),
        }
        if layout.shared:
            moved = job.synced_bytes + (plan.actor.kept if layout.offload else 0)
            seconds["sleep, wake, offload"] = roofline.to_host_and_back_seconds(job, moved)
        seconds["everything else"] = roofline.STEP_SECONDS
        step = sum(seconds.values())
        if layout.topology == "async":
            step = max(seconds["generate"], step - seconds["generate"])
        interim = self.cfg.num_steps // evaluation.every * evaluation.interim_problems if evaluation.every else 0
        evaluated = interim + 4 * evaluation.num_problems  # sampled and greedy, at the start and at the end
        hours = (self.cfg.num_steps * step + generation(evaluated, evaluated)) / 3600
        price = price_of(self.cfg.cost, None, [self.gpu.name] * self.count)
        return replace(plan, seconds=seconds, step_seconds=step, hours=hours, usd=hours * price.usd_per_hour)

    def overrides(self, plan: Plan) -> list[str]:
        """What to put on the command line."""
        layout = plan.layout
        chosen = [
            f"topology={layout.topology}",
            f"rollout.replicas={layout.generators}",
            f"rollout.gpu_memory_utilization={plan.gpu_memory_utilization}",
            "rollout.kv_cache_gb=null",
            f"algorithm.micro_batch_tokens={plan.micro_batch_tokens}",
            f"model.gradient_checkpointing={str(layout.checkpointing).lower()}",
        ]
        if layout.shared:
            chosen += [f"topology.offload_actor={str(layout.offload).lower()}", "topology.offload_reference=false"]
        changed = layout.optimizer != self.cfg.algorithm.optimizer.name
        return chosen + ([f"algorithm.optimizer.name={layout.optimizer}"] if changed else [])


def make_planner(cfg: Config, gpu: Gpu, count: int) -> Planner:
    """
    Raises:
        ValueError: the model's config can't be had.
    """
    config = config_of(cfg.model)
    shape = shape_of(config)
    tables = {}
    for checkpointing in (True, False):
        model = replace(cfg.model, gradient_checkpointing=checkpointing)
        tables[checkpointing, "adamw"] = actor_table(config, model, cfg.algorithm)
        tables[checkpointing, "adamw_8bit"] = tables[checkpointing, "adamw"].with_8bit_optimizer()
    engine = rollout_memory(shape, cfg.model, cfg.rollout.max_num_seqs, gpu.vllm_tokens)
    return Planner(cfg, gpu, count, shape, engine, tables)


def layouts(count: int, optimizer: str) -> Iterator[Layout]:
    """Every way that `count` GPUs can be given to the trio."""
    for checkpointing in (False, True):
        for offload in (False, True):
            yield Layout(
                "one_gpu" if count == 1 else "colocated", count, count, checkpointing, optimizer, offload=offload
            )
        for trainers in range(1, count):
            for topology in ("split", "async"):
                yield Layout(topology, trainers, count - trainers, checkpointing, optimizer)


def choose(plans: Sequence[Plan]) -> Plan | None:
    """The fastest that fits; an asynchronous one only where it is faster by far. None where nothing fits."""
    fitting = [plan for plan in plans if plan.problem is None]

    def handicapped(plan: Plan) -> float:
        return plan.step_seconds / (ASYNC_GAIN if plan.layout.topology == "async" else 1)

    return min(fitting, key=handicapped, default=None)


def _too_much(what: str, needed: float, usable: float) -> str:
    return f"{what} needs {needed / 2**30:.1f} GiB of {usable / 2**30:.1f}"

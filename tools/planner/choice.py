"""Enumerate the ways to split a run over N GPUs, keep those that fit and choose the fastest."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conf.sft import TrainingConfig
from grpo.settings import COMPLETION_LOSSES
from run.cost import price_of
from tools.planner import roofline
from tools.planner.efficiencies import Efficiencies
from tools.planner.fit import KV_CACHE, GpuMemory, GpuSplit
from tools.planner.hardware import GpuSpec
from tools.planner.host import HostNeeds, host_needs
from tools.planner.memory import ActorTable, RolloutMemory, actor_table, rollout_memory, sharded
from tools.planner.roofline import Workload
from tools.planner.shape import Shape, config_of, shape_of
from tools.planner.trace import UpdateMemory

MAX_MICRO_BATCH_TOKENS = 32768  # a larger micro-batch does not use a GPU better
MAX_GPU_MEMORY_UTILIZATION = 0.9
ASYNC_GAIN = 0.9  # async trains on completions of older weights: choose it only below this fraction of the time


@dataclass(frozen=True)
class Plan:
    """A split of the GPUs, what it needs and how long it takes.

    generating, training    bytes by part on a GPU that generates and on one that trains
    actor                   one rank's memory with the micro-batch below
    problem                 why it does not fit, or None; if set, the fields below have no meaning
    micro_batch_tokens      the largest micro-batch that fits
    gpu_memory_utilization  fraction of the GPU for vLLM
    sequences               sequences that an engine runs at once, each at its length limit
    seconds                 per step, by phase
    hours, usd              of the whole run, evaluations included
    """

    split: GpuSplit
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
    """A run to be planned. tables: the actor's memory by (gradient checkpointing, optimizer)."""

    cfg: TrainingConfig
    gpu: GpuSpec
    count: int
    shape: Shape
    rollout: RolloutMemory
    tables: dict[tuple[bool, str], ActorTable]
    efficiencies: Efficiencies = Efficiencies()

    @property
    def memory(self) -> GpuMemory:
        return GpuMemory(self.cfg, self.shape, self.rollout, self.gpu.memory)

    def plans(self) -> list[Plan]:
        """Plans of all splits. Those with an 8-bit optimizer are considered only if nothing else fits."""
        for optimizer in dict.fromkeys([self.cfg.algorithm.optimizer.name, "adamw_8bit"]):
            plans = [self.plan(split) for split in gpu_splits(self.count, optimizer) if self.is_allowed(split)]
            if any(plan.problem is None for plan in plans):
                break
        return plans

    def is_allowed(self, split: GpuSplit) -> bool:
        """Whether the completions of an update divide evenly among the training GPUs, an 8-bit optimizer holds the
        full model on one GPU without offloading, and the run would accept old weights."""
        sampling = self.cfg.algorithm.sampling
        divides = self.cfg.rows_per_update % split.trainers == 0
        one_device = split.trainers == 1 and not split.offload_actor
        chosen_by_weights = sampling.candidates > 1 or sampling.max_resample_rounds > 1
        refused = split.topology == "async" and (chosen_by_weights or sampling.truncates_distribution)
        return divides and not refused and (one_device or split.optimizer != "adamw_8bit")

    def plan(self, split: GpuSplit) -> Plan:
        memory = self.memory
        training, rows = self._training(split)
        actor = self._actor(split, max(rows, 1))
        generating = memory.generating(split, actor)
        # The KV cache takes what is left, up to the largest fraction that vLLM is given.
        left = memory.usable - sum(generating.values())
        most = MAX_GPU_MEMORY_UTILIZATION * self.gpu.memory - self.rollout.fixed
        generating[KV_CACHE] = max(0.0, min(left, most))
        partial = Plan(split, generating, training, actor, memory.problem(training, generating))
        if partial.problem is not None:
            return partial
        utilization = math.floor(100 * (self.rollout.fixed + generating[KV_CACHE]) / self.gpu.memory) / 100
        wanted = min(self.cfg.rollout.max_num_seqs, math.ceil(self.cfg.algorithm.num_completions / split.generators))
        fitting = replace(
            partial,
            micro_batch_tokens=rows * self._row_tokens,
            gpu_memory_utilization=utilization,
            sequences=min(wanted, int(generating[KV_CACHE] / self.rollout.kv_sequence)),
        )
        return self._timed(fitting)

    def host(self, plan: Plan) -> HostNeeds:
        """Host memory, shared memory and disk of a plan."""
        split = plan.split
        rows = plan.micro_batch_tokens / self._row_tokens
        actor = self.tables[split.checkpointing, split.optimizer].at(rows)
        return host_needs(self.cfg, self.shape, split, actor, on_gpu=True)

    @property
    def _row_tokens(self) -> int:
        return self.cfg.model.max_prompt_tokens + self.cfg.model.max_completion_tokens

    def _actor(self, split: GpuSplit, rows: int) -> UpdateMemory:
        table = self.tables[split.checkpointing, split.optimizer]
        return sharded(table.at(rows), self.shape, split.trainers)

    def _training(self, split: GpuSplit) -> tuple[dict[str, float], int]:
        """Bytes by part while a GPU trains, and the largest number of rows in a micro-batch that fits; 0 if not even
        a single row fits, whose bytes are then returned."""
        algorithm, memory = self.cfg.algorithm, self.memory
        most = min(
            MAX_MICRO_BATCH_TOKENS // self._row_tokens,
            algorithm.num_completions // algorithm.num_minibatches // split.trainers,
        )
        for rows in range(max(most, 1), 0, -1):
            parts = memory.training(split, self._actor(split, rows))
            if sum(parts.values()) <= memory.usable:
                return parts, rows
        return parts, 0

    def evaluation_seconds(self, work: Workload, replicas: int, concurrency: int) -> float:
        """Seconds of the run's evaluations, one after the other: sampled and greedy at the start and at the end,
        sampled in between. The arguments are those of `generation_seconds`."""
        evaluation = self.cfg.evaluation
        interims = (self.cfg.num_steps - 1) // evaluation.every if evaluation.every else 0
        interim_problems = min(evaluation.interim_problems, evaluation.num_problems)

        def one(problems: int) -> float:
            return roofline.generation_seconds(work, problems, problems, replicas, concurrency)

        return interims * one(interim_problems) + 4 * one(evaluation.num_problems)

    def _timed(self, plan: Plan) -> Plan:
        split, algorithm = plan.split, self.cfg.algorithm
        work = Workload(self.gpu, self.shape, self.cfg.model, algorithm, self.efficiencies)
        ranks, micro = split.trainers, plan.micro_batch_tokens

        def generation(completions: float, prompts: float) -> float:
            return roofline.generation_seconds(work, completions, prompts, split.generators, plan.sequences)

        tried = algorithm.num_prompts * algorithm.sampling.candidates if algorithm.sampling.candidates > 1 else 0
        trials = tried * algorithm.sampling.trial_completions
        seconds = {
            "generate": generation(algorithm.num_completions + trials, algorithm.num_prompts + tried),
            "log-probabilities": roofline.logprobs_seconds(work, ranks, micro),
            "update": roofline.update_seconds(work, ranks, micro, split.checkpointing),
            "weight sync": sum(roofline.sync_seconds(work, split.weight_transfer, ranks).values()),
        }
        if split.offload_actor:
            seconds["offload the actor"] = roofline.to_host_and_back_seconds(work, plan.actor.kept)
        seconds["everything else"] = self.efficiencies.step_seconds
        step = sum(seconds.values())
        if split.topology == "async":  # the weights are sent when the generation for the next step has ended
            sync = seconds["weight sync"]
            step = max(seconds["generate"], step - seconds["generate"] - sync) + sync
        evaluations = self.evaluation_seconds(work, split.generators, plan.sequences)
        hours = (self.cfg.num_steps * step + evaluations) / 3600
        price = price_of(self.cfg.cost, None, [self.gpu.name] * self.count)
        return replace(plan, seconds=seconds, step_seconds=step, hours=hours, usd=hours * price.usd_per_hour)

    def overrides(self, plan: Plan) -> list[str]:
        """The settings of a plan as command-line overrides."""
        split = plan.split
        chosen = [
            f"topology={split.topology}",
            f"topology.weight_transfer={split.weight_transfer}",
            f"rollout.replicas={split.generators}",
            f"rollout.gpu_memory_utilization={plan.gpu_memory_utilization}",
            "rollout.kv_cache_gb=null",
            f"algorithm.micro_batch_tokens={plan.micro_batch_tokens}",
            f"model.gradient_checkpointing={str(split.checkpointing).lower()}",
        ]
        if split.colocated:
            chosen += [
                f"topology.offload_actor={str(split.offload_actor).lower()}",
                "topology.offload_reference=false",
            ]
        if split.topology == "async" and self.cfg.algorithm.loss.name in COMPLETION_LOSSES:
            chosen.append("algorithm.correction.level=sequence")
        changed = split.optimizer != self.cfg.algorithm.optimizer.name
        return chosen + ([f"algorithm.optimizer.name={split.optimizer}"] if changed else [])


def make_planner(
    cfg: TrainingConfig,
    gpu: GpuSpec,
    count: int,
    efficiencies: Efficiencies = Efficiencies(),  # noqa: B008 - frozen
) -> Planner:
    """
    Raises:
        ValueError: the model's config is not available.
    """
    config = config_of(cfg.model)
    shape = shape_of(config)
    tables = {}
    for checkpointing in (True, False):
        model = replace(cfg.model, gradient_checkpointing=checkpointing)
        tables[checkpointing, "adamw"] = actor_table(config, model, cfg.algorithm)
        tables[checkpointing, "adamw_8bit"] = tables[checkpointing, "adamw"].with_8bit_optimizer()
    engine = rollout_memory(shape, cfg.model, cfg.rollout.max_num_seqs, gpu.vllm_tokens)
    return Planner(cfg, gpu, count, shape, engine, tables, efficiencies)


def gpu_splits(count: int, optimizer: str) -> Iterator[GpuSplit]:
    """Every way to divide `count` GPUs among the trio."""
    for checkpointing in (False, True):
        for offload in (False, True):
            topology = "one_gpu" if count == 1 else "colocated"
            yield GpuSplit(topology, count, count, True, checkpointing, optimizer, offload_actor=offload)
        for trainers in range(1, count):
            for topology in ("split", "async"):
                yield GpuSplit(topology, trainers, count - trainers, False, checkpointing, optimizer)


def choose(plans: Sequence[Plan]) -> Plan | None:
    """The fastest plan that fits, with a handicap for async; None if nothing fits."""
    fitting = [plan for plan in plans if plan.problem is None]

    def handicapped(plan: Plan) -> float:
        return plan.step_seconds / (ASYNC_GAIN if plan.split.topology == "async" else 1)

    return min(fitting, key=handicapped, default=None)

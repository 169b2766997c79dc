"""Plan the stages of a pipeline: hours and dollars of each.

Completions are assumed to have their mean length (tools/planner/efficiencies.py), and a traces stage to keep as many
rows as its filters let through at most.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from conf.pipelines import TRAINED, StageConfig
from conf.schema import Config, CostConfig
from conf.sft import SftConfig, TrainingConfig
from conf.strategies import DecodingConfig
from conf.traces import TracesConfig
from envs.records import file_records
from pipelines.commands import Known, Pipeline, stage_settings
from run.cost import Price, price_of
from tools.planner import roofline
from tools.planner.choice import Plan, Planner, choose, make_planner
from tools.planner.efficiencies import Efficiencies
from tools.planner.hardware import GpuSpec
from tools.planner.memory import GIB, rollout_memory
from tools.planner.roofline import Workload
from tools.planner.shape import config_of, shape_of

STARTUP_SECONDS = 90.0  # of a stage's process: Ray, loading the model, vLLM with its CUDA graphs; assumed


@dataclass(frozen=True)
class StagePlan:
    """A planned stage.

    seconds    of the whole stage, with STARTUP_SECONDS
    tokens     that it generates or trains on
    steps      of training
    rows       of the data that a traces stage writes, at most
    samples    that a traces stage draws
    data_tokens  of the data that a traces stage writes
    overrides  the settings that fit the GPUs
    """

    seconds: float
    tokens: float
    steps: int = 0
    rows: int = 0
    samples: int = 0
    data_tokens: float = 0.0
    overrides: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, int]:
        """The numbers of its summary.json that other stages may refer to (NUMBERS in conf/pipelines.py)."""
        numbers = {"steps": self.steps, "rows": self.rows, "samples": self.samples}
        return numbers | {"tokens": int(self.tokens), "data_tokens": int(self.data_tokens)}


@dataclass(frozen=True)
class Machine:
    """The GPUs to rent. planners: by what is trained and how, since stages that agree in it share a planner."""

    gpu: GpuSpec
    count: int
    efficiencies: Efficiencies = Efficiencies()
    cost: CostConfig = field(default_factory=CostConfig)
    planners: dict[str, Planner] = field(default_factory=dict)

    @property
    def price(self) -> Price:
        return price_of(self.cost, None, [self.gpu.name] * self.count)

    def planner(self, cfg: TrainingConfig) -> Planner:
        key = repr((cfg.model, cfg.algorithm, cfg.rollout.max_num_seqs))
        if key not in self.planners:
            self.planners[key] = make_planner(cfg, self.gpu, self.count, self.efficiencies)
        return replace(self.planners[key], cfg=cfg)

    def workload(self, cfg: TrainingConfig | DecodingConfig, batch_tokens: float = 0.0) -> "SftWorkload":
        return SftWorkload(
            self.gpu, shape_of(config_of(cfg.model)), cfg.model, cfg.algorithm, self.efficiencies, batch_tokens
        )


@dataclass(frozen=True)
class SftWorkload(Workload):
    """A step of supervised fine-tuning. batch_tokens: of its examples, prompts included."""

    batch_tokens: float = 0.0

    @property
    def step_tokens(self) -> float:
        return self.batch_tokens


def plan_pipeline(pipeline: Pipeline, machine: Machine) -> dict[str, StagePlan]:
    """Plan all stages, in order.

    Raises:
        ValueError: a stage cannot be planned.
    """
    plans: dict[str, StagePlan] = {}
    for name in pipeline.stages:
        plans[name] = plan_stage(pipeline, name, plans, machine)
    return plans


def plan_stage(pipeline: Pipeline, name: str, plans: Mapping[str, StagePlan], machine: Machine) -> StagePlan:
    """Plan a stage. plans: those of the stages before it, whose tokens, steps or rows it may need.

    Raises:
        ValueError: it does not fit on the GPUs, or the size of its data is unknown; the message names the stage.
    """
    stage, known = pipeline.stages[name], Known(summaries={other: plan.summary for other, plan in plans.items()})
    try:
        if unplanned := [other for other in stage.referenced if other not in plans]:
            raise ValueError(f"its settings depend on {', '.join(unplanned)}, for which there is no plan")
        settings = stage_settings(stage.kind, pipeline.overrides(name, known))
        if isinstance(settings, SftConfig):
            return plan_sft(name, settings, num_rows(stage, plans), machine)
        if isinstance(settings, DecodingConfig):
            return plan_decoding(settings, machine)
        assert isinstance(settings, Config)
        return plan_rl(settings, machine)
    except ValueError as error:
        raise ValueError(f"stages.{name}: {error}") from error


def num_rows(stage: StageConfig, plans: Mapping[str, StagePlan]) -> float | None:
    """The rows that an sft stage trains on, if sources of unknown size have as many as their ratio asks for; None if
    that is not known."""
    known = {source: rows for source in stage.data if (rows := source_rows(source, plans)) is not None}
    ratio = {source: parts for source, parts in stage.data.items() if parts is not None}
    if not ratio:
        return sum(known.values()) if len(known) == len(stage.data) else None
    unit = min((rows / ratio[source] for source, rows in known.items()), default=None)
    return None if unit is None else unit * sum(ratio.values())


def source_rows(source: str, plans: Mapping[str, StagePlan]) -> int | None:
    """The rows of a planned traces stage, or of a file that exists; None for everything else."""
    if source in plans:
        return plans[source].rows
    is_file = source.endswith((".jsonl", ".parquet")) and Path(source).is_file()
    return sum(1 for _ in file_records(Path(source))) if is_file else None


def plan_rl(cfg: Config, machine: Machine) -> StagePlan:
    steps, step_tokens = num_steps(cfg, machine.efficiencies)
    planner = machine.planner(replace(cfg, num_steps=steps))
    chosen = fastest(planner.plans())
    return StagePlan(
        STARTUP_SECONDS + 3600 * chosen.hours, steps * step_tokens, steps, overrides=tuple(planner.overrides(chosen))
    )


def num_steps(cfg: Config, efficiencies: Efficiencies) -> tuple[int, float]:
    """The steps of a run, which `num_tokens` may end earlier, and the mean tokens of a step."""
    tokens = cfg.algorithm.num_completions * cfg.model.max_completion_tokens * efficiencies.mean_completion
    return min(cfg.num_steps, math.ceil(cfg.num_tokens / tokens)) if cfg.num_tokens else cfg.num_steps, tokens


def plan_sft(name: str, cfg: SftConfig, rows: float | None, machine: Machine) -> StagePlan:
    """The actor's memory is that of RL; its seconds are those of the updates, and of generation for the evaluations."""
    work = machine.workload(cfg, cfg.batch_tokens)
    if cfg.num_steps:
        steps = cfg.num_steps
    elif rows is not None:
        steps = math.ceil(cfg.epochs * rows * work.mean_tokens / cfg.batch_tokens)
    else:
        raise ValueError(
            f"the number of rows of its data is unknown, and with it the number of steps; set {name}.num_steps=N, or "
            "use a .jsonl or .parquet file that exists"
        )
    planner = machine.planner(replace(cfg, num_steps=steps))
    chosen = fastest([plan for plan in planner.plans() if plan.split.colocated])
    split, micro = chosen.split, chosen.micro_batch_tokens
    update = roofline.update_seconds(work, split.trainers, micro, split.checkpointing)
    seconds = STARTUP_SECONDS + steps * (update + machine.efficiencies.step_seconds)
    seconds += planner.evaluation_seconds(work, split.generators, chosen.sequences)
    overrides = [each.removeprefix("algorithm.") for each in planner.overrides(chosen)]
    return StagePlan(seconds, steps * cfg.batch_tokens, steps, overrides=tuple(overrides))


def plan_decoding(cfg: DecodingConfig, machine: Machine) -> StagePlan:
    """Traces and evaluations: vLLM alone, with a KV cache in its share of the GPU."""
    work, completions = machine.workload(cfg), cfg.strategy.completions
    engine = rollout_memory(work.shape, cfg.model, cfg.rollout.max_num_seqs, machine.gpu.vllm_tokens)
    cache = cfg.rollout.gpu_memory_utilization * machine.gpu.memory - engine.fixed
    sequences = min(cfg.rollout.max_num_seqs, int(cache / engine.kv_sequence))
    if sequences < 1:
        raise ValueError(
            f"vLLM needs {(engine.fixed + engine.kv_sequence) / GIB:.1f} GiB for one sequence; use a larger GPU, or "
            f"raise rollout.gpu_memory_utilization={cfg.rollout.gpu_memory_utilization}"
        )
    problems, rows = cfg.num_problems, 0
    samples = problems * completions
    if isinstance(cfg, TracesConfig):
        candidates = completions if cfg.strategy.samples else 1  # other strategies leave one to train on
        kept = 1 if cfg.build else min(candidates, cfg.thresholds.k) if "at_most_k" in cfg.filters else candidates
        rows = min(problems * kept, cfg.thresholds.max_rows or problems * kept)
        if cfg.samples is not None:  # another stage samples them
            return StagePlan(STARTUP_SECONDS, 0, rows=rows, samples=samples, data_tokens=rows * work.mean_completion)
    seconds = roofline.generation_seconds(work, samples, problems, machine.count, sequences)
    return StagePlan(
        STARTUP_SECONDS + seconds,
        samples * work.mean_completion,
        rows=rows,
        samples=samples,
        data_tokens=rows * work.mean_completion,
    )


def fastest(plans: Sequence[Plan]) -> Plan:
    """
    Raises:
        ValueError: nothing fits.
    """
    chosen = choose(plans)
    if not plans:
        raise ValueError("no way to divide these GPUs among the trio; use another number of GPUs")
    if chosen is None:
        raise ValueError(f"nothing fits: {plans[-1].problem}; use a larger GPU, more GPUs or a smaller model")
    return chosen


def print_pipeline(
    console: Console, pipeline: Pipeline, plans: Mapping[str, StagePlan], machine: Machine, given: Sequence[str]
) -> None:
    """Print the hours and dollars of each stage and of all, and the command with the settings that fit. given: the
    user's overrides, which it repeats."""
    price = machine.price
    console.print(
        f"[bold]{pipeline.cfg.name}[/] on {machine.count} x {machine.gpu.name}, ${price.usd_per_hour:.2f} per hour "
        f"({price.source}); all figures are calculated, not measured on a GPU\n"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "kind", "arm"):
        table.add_column(heading, no_wrap=heading != "arm")
    for heading in ("steps", "rows", "M tokens", "hours", "$"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, plan in plans.items():
        stage, hours = pipeline.stages[name], plan.seconds / 3600
        table.add_row(
            name, stage.kind, stage.arm, f"{plan.steps or ''}", f"{plan.rows or ''}", f"{plan.tokens / 1e6:,.1f}",
            f"{hours:.2f}", f"{hours * price.usd_per_hour:.2f}",
        )  # fmt: skip
    total = sum(plan.seconds for plan in plans.values()) / 3600
    table.add_section()
    table.add_row("total", "", "", "", "", "", f"{total:.2f}", f"{total * price.usd_per_hour:.2f}")
    console.print(table)
    command = [".venv/bin/python -m pipelines", f"pipeline={pipeline.cfg.name}"]
    text = shlex.join([*given, *fitting_overrides(pipeline, plans)])
    console.print(" ".join([*command, text]), markup=False, soft_wrap=True, highlight=False)


def fitting_overrides(pipeline: Pipeline, plans: Mapping[str, StagePlan]) -> list[str]:
    """The settings of all stages as arguments of the pipeline: of a kind, if its stages agree, or of each stage."""
    arguments = []
    for kind in TRAINED:
        of_kind = {name: plans[name].overrides for name, stage in pipeline.stages.items() if stage.kind == kind}
        agree = len(set(of_kind.values())) == 1
        targets = {kind: next(iter(of_kind.values()))} if agree else of_kind
        arguments += [f"{target}.{override}" for target, overrides in targets.items() for override in overrides]
    return arguments

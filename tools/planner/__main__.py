"""Plan a run before a GPU is rented: what fits on it, how long the run takes and what it costs.

Only the model's config is needed, neither a GPU nor the weights. docs/planning.md explains the method.

    make plan MODEL=qwen-3b GPU=a100-80gb N=2
    make plan PIPELINE=r1_gsm8k GPU=h100
    python -m tools.planner --gpu rtx4090 model=qwen-1.5b model.lora.rank=16
"""

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from conf.compose import compose_config, compose_pipeline
from conf.launch import checking_settings
from pipelines.commands import Pipeline, cost_of
from run.cost import price_of
from tools.planner.choice import Plan, Planner, choose, make_planner
from tools.planner.efficiencies import Efficiencies
from tools.planner.hardware import GPUS, MAX_GPUS, check_count, gpu_named
from tools.planner.memory import GIB
from tools.planner.pipeline import Machine, num_steps, plan_pipeline, print_pipeline

SHOWN_PLANS = 6
SHOWN_ROWS = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpu", default="a100-80gb", help=f"one of {', '.join(GPUS)} (default: %(default)s)")
    parser.add_argument("-n", "--count", type=int, default=1, help=f"number of GPUs in the machine, 1 to {MAX_GPUS}")
    parser.add_argument("--report", type=Path, help="a report.json of make gpu-check, for its efficiencies")
    parser.add_argument("--json", action="store_true", help="print only the chosen plan, as JSON")
    parser.add_argument("--pipeline", help="plan the stages of this pipeline, a file of conf/pipeline/")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for make train or make pipeline")
    args = parser.parse_args()
    with checking_settings():
        gpu = gpu_named(args.gpu)
        check_count(args.count)
        reached = Efficiencies.measured(args.report, gpu.name) if args.report else Efficiencies()
        if args.pipeline:
            pipeline = Pipeline(compose_pipeline([f"pipeline={args.pipeline}", *args.overrides]))
            machine = Machine(gpu, args.count, reached, cost_of(pipeline))
            print_pipeline(Console(), pipeline, plan_pipeline(pipeline, machine), machine, args.overrides)
            return
        cfg = compose_config(args.overrides)
        planner = make_planner(replace(cfg, num_steps=num_steps(cfg, reached)[0]), gpu, args.count, reached)
    plans = planner.plans()
    chosen = choose(plans)
    if args.json:
        print(json.dumps(asdict(chosen) | {"overrides": planner.overrides(chosen)} if chosen else None))
    else:
        print_report(Console(), planner, plans, chosen, args.overrides)
    if chosen is None:
        raise SystemExit(1)


def print_report(
    console: Console, planner: Planner, plans: Sequence[Plan], chosen: Plan | None, given: Sequence[str]
) -> None:
    """Print the tables, and the command of the chosen plan. given: the user's overrides, which it repeats."""
    cfg, gpu = planner.cfg, planner.gpu
    price = price_of(cfg.cost, None, [gpu.name] * planner.count)
    console.print(
        f"[bold]{cfg.model.name}[/] ({cfg.model.path}, {planner.shape.parameters / 1e9:.3f}B parameters) on "
        f"{planner.count} x {gpu.name}, {gpu.memory / GIB:.1f} GiB each, ${price.usd_per_hour:.2f} per hour "
        f"({price.source})"
    )
    console.print(
        f"{cfg.algorithm.num_prompts} prompts x {cfg.algorithm.group_size} completions per step, up to "
        f"{cfg.model.max_prompt_tokens} + {cfg.model.max_completion_tokens} tokens; "
        "all figures are calculated, not measured on a GPU\n"
    )
    if chosen is not None:
        console.print(_fitting_plans(planner, plans, chosen))
    for name, problem in problems_of(plans).items():
        console.print(f"does not fit: {name}: {problem}", highlight=False)
    if chosen is None:
        console.print('nothing fits: use a larger GPU, more GPUs, a smaller MODEL, or ARGS="model.lora.rank=16"')
        return
    console.print(_memory(chosen))
    console.print(_actor_passes(planner, chosen))
    console.print(_seconds(chosen))
    host = planner.host(chosen)
    console.print(
        f"host: {host.memory / GIB:.0f} GiB of memory, {host.shared_memory / GIB:.0f} GiB of it in /dev/shm; "
        f"{host.checkpoints / GIB:.0f} GiB of disk for checkpoints"
    )
    stated = "; ".join(f"{name} {value:.3g}" for name, value in asdict(planner.efficiencies).items())
    console.print(f"efficiencies (tools/planner/efficiencies.py): {stated}\n")
    offload = ", with the actor offloaded to host memory while it generates" if chosen.split.offload_actor else ""
    console.print(f"chosen: [bold]{chosen.split.topology}[/]{offload}")
    command = "  .venv/bin/python train_grpo.py " + shlex.join([*given, *planner.overrides(chosen)])
    console.print(command, markup=False, soft_wrap=True, highlight=False)


def _fitting_plans(planner: Planner, plans: Sequence[Plan], chosen: Plan) -> Table:
    table = _table(f"the fastest plans that fit, {planner.cfg.num_steps} steps", "topology", "GPUs")
    for heading in ("ckpt", "offload", "tokens", "seqs", "s/step", "hours", "$"):
        table.add_column(heading, justify="right", no_wrap=True)
    fitting = [plan for plan in plans if plan.problem is None]
    for plan in sorted(fitting, key=lambda plan: plan.step_seconds)[:SHOWN_PLANS]:
        split = plan.split
        gpus = f"{split.trainers}" if split.colocated else f"{split.trainers} + {split.generators}"
        figures = (
            _yes(split.checkpointing),
            _yes(split.offload_actor),
            f"{plan.micro_batch_tokens:,}",
            f"{plan.sequences}",
        )
        costs = (f"{plan.step_seconds:.0f}", f"{plan.hours:.1f}", f"{plan.usd:.2f}")
        table.add_row(split.topology, gpus, *figures, *costs, style="bold" if plan is chosen else None)
    return table


def problems_of(plans: Sequence[Plan]) -> dict[str, str]:
    """Why a topology, with or without gradient checkpointing, has no plan that fits: the problem of its plan that needs
    the least memory."""
    alike: dict[str, list[Plan]] = {}
    for plan in plans:
        checkpointing = "with" if plan.split.checkpointing else "without"
        alike.setdefault(f"{plan.split.topology} {checkpointing} gradient checkpointing", []).append(plan)
    closest = {name: min(group, key=_shortage) for name, group in alike.items()}
    return {name: plan.problem for name, plan in closest.items() if plan.problem is not None}


def _shortage(plan: Plan) -> tuple[bool, float]:
    """A key by which plans that fit come first, then those that need the least memory."""
    return plan.problem is not None, max(sum(plan.training.values()), sum(plan.generating.values()))


def _memory(plan: Plan) -> Table:
    where = "each GPU" if plan.split.colocated else "a generating and a training GPU"
    table = _table(f"GiB on {where}", "part")
    for heading in ("generating", "training"):
        table.add_column(heading, justify="right")
    for part in [*plan.training, *(part for part in plan.generating if part not in plan.training)]:
        table.add_row(part, _gib(plan.generating.get(part)), _gib(plan.training.get(part)))
    table.add_section()
    table.add_row("total", _gib(sum(plan.generating.values())), _gib(sum(plan.training.values())))
    return table


def _actor_passes(planner: Planner, plan: Plan) -> Table:
    """Memory of the forward and backward passes by micro-batch size."""
    table = _table("GiB of the actor's passes, without weights, gradients and optimizer")
    for heading in ("micro-batch tokens", "without checkpointing", "with"):
        table.add_column(heading, justify="right")
    row = planner.cfg.model.max_prompt_tokens + planner.cfg.model.max_completion_tokens
    for rows in SHOWN_ROWS:
        without, with_it = (planner.tables[on, plan.split.optimizer].at(rows).passes for on in (False, True))
        table.add_row(f"{rows * row:,}", _gib(without.total), _gib(with_it.total))
    return table


def _seconds(plan: Plan) -> Table:
    assert plan.seconds is not None
    table = _table("seconds per step", "phase")
    table.add_column("seconds", justify="right")
    for phase, seconds in plan.seconds.items():
        table.add_row(phase, f"{seconds:.1f}")
    table.add_section()
    total = "the longer of generation and the rest, then weight sync" if plan.split.topology == "async" else "total"
    table.add_row(total, f"{plan.step_seconds:.1f}")
    return table


def _gib(size: float | None) -> str:
    return "" if size is None else f"{size / GIB:.1f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


if __name__ == "__main__":
    main()

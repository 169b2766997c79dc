"""A plan for the reader: tables, and the command that follows from it."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from run.cost import price_of
from tools.planner.choice import Plan, Planner
from tools.planner.memory import GIB
from tools.planner.roofline import STATED

SHOWN = 6
SHOWN_ROWS = (1, 4, 16)


def print_report(
    console: Console, planner: Planner, plans: Sequence[Plan], chosen: Plan | None, given: Sequence[str]
) -> None:
    """`given`: the user's own overrides, which the command repeats."""
    cfg, gpu = planner.cfg, planner.gpu
    price = price_of(cfg.cost, None, [gpu.name] * planner.count)
    console.print(
        f"[bold]{cfg.model.name}[/] ({cfg.model.path}, {planner.shape.parameters / 1e9:.3f}B parameters) on "
        f"{planner.count} x {gpu.name}, {gpu.memory / GIB:.1f} GiB each, ${price.usd_per_hour:.2f} an hour "
        f"({price.source})"
    )
    console.print(
        f"{cfg.algorithm.num_prompts} prompts x {cfg.algorithm.group_size} completions a step, up to "
        f"{cfg.model.max_prompt_tokens} + {cfg.model.max_completion_tokens} tokens; "
        "nothing here was measured on a GPU\n"
    )
    if chosen is not None:
        console.print(_layouts(planner, plans, chosen))
    _print_problems(console, plans)
    if chosen is None:
        console.print('nothing fits: take a larger GPU, more of them, a smaller MODEL, or ARGS="model.lora.rank=16"')
        return
    console.print(_memory(chosen))
    console.print(_actor(planner, chosen))
    console.print(_seconds(chosen))
    console.print("efficiencies: " + "; ".join(f"{name} {value:g}" for name, value in STATED.items()) + "\n")
    offload = (
        ", the actor's weights and optimizer in the host's memory while it generates" if chosen.layout.offload else ""
    )
    console.print(f"chosen: [bold]{chosen.layout.topology}[/]{offload}")
    command = ["  .venv/bin/python train_grpo.py", *given, *planner.overrides(chosen)]
    console.print(" ".join(command), soft_wrap=True, highlight=False)


def _layouts(planner: Planner, plans: Sequence[Plan], chosen: Plan | None) -> Table:
    table = _table(f"the fastest that fit, {planner.cfg.num_steps} steps", "topology", "GPUs")
    for heading in ("ckpt", "offload", "tokens", "seqs", "s/step", "hours", "$"):
        table.add_column(heading, justify="right", no_wrap=True)
    fitting = [plan for plan in plans if plan.problem is None]
    for plan in sorted(fitting, key=lambda one: one.step_seconds)[:SHOWN]:
        layout = plan.layout
        gpus = f"{layout.trainers}" if layout.shared else f"{layout.trainers} + {layout.generators}"
        figures = (
            _yes(layout.checkpointing),
            _yes(layout.offload),
            f"{plan.micro_batch_tokens:,}",
            f"{plan.sequences}",
        )
        costs = (f"{plan.step_seconds:.0f}", f"{plan.hours:.1f}", f"{plan.usd:.2f}")
        table.add_row(layout.topology, gpus, *figures, *costs, style="bold" if plan is chosen else None)
    return table


def _print_problems(console: Console, plans: Sequence[Plan]) -> None:
    """Why the others do not fit, once for each topology."""
    problems: dict[str, str] = {}
    for plan in plans:
        if plan.problem is not None:
            layout = plan.layout
            checkpointing = "with" if layout.checkpointing else "without"
            problems[f"{layout.topology} {checkpointing} gradient checkpointing"] = plan.problem
    for name, problem in problems.items():
        console.print(f"does not fit: {name}: {problem}", highlight=False)


def _memory(plan: Plan) -> Table:
    where = "a GPU" if plan.layout.shared else "a GPU that generates, and one that trains"
    table = _table(f"GiB on {where}", "part")
    for heading in ("generating", "training"):
        table.add_column(heading, justify="right")
    for part in [*plan.training, *(part for part in plan.generating if part not in plan.training)]:
        table.add_row(part, _gib(plan.generating.get(part)), _gib(plan.training.get(part)))
    table.add_section()
    table.add_row("together", _gib(sum(plan.generating.values())), _gib(sum(plan.training.values())))
    return table


def _actor(planner: Planner, plan: Plan) -> Table:
    """The passes of one rank by the size of the micro-batch."""
    table = _table("GiB of the actor's passes on one GPU, beside weights, gradients and optimizer")
    for heading in ("micro-batch tokens", "without checkpointing", "with"):
        table.add_column(heading, justify="right")
    row = planner.cfg.model.max_prompt_tokens + planner.cfg.model.max_completion_tokens
    optimizer = plan.layout.optimizer
    for rows in SHOWN_ROWS:
        without, with_it = (planner.tables[on, optimizer].at(rows).passes for on in (False, True))
        table.add_row(f"{rows * row:,}", _gib(without.total), _gib(with_it.total))
    return table


def _seconds(plan: Plan) -> Table:
    assert plan.seconds is not None
    table = _table("seconds of a step", "phase")
    table.add_column("seconds", justify="right")
    for phase, seconds in plan.seconds.items():
        table.add_row(phase, f"{seconds:.1f}")
    table.add_section()
    together = "the longer of generation and the rest" if plan.layout.topology == "async" else "together"
    table.add_row(together, f"{plan.step_seconds:.1f}")
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

"""List the stages of a pipeline before they start: how far each is, and the minutes and dollars still to come.

    make pipeline PIPELINE=r1 DRY=1
    python -m tools.planner.dry_run pipeline=r1 model=tiny env=countdown rl.num_steps=20

On a machine with GPUs the minutes are the planner's; on a CPU they are those that the pipeline's file states. Why the
planner has none for a stage is printed below the table.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.table import Table

from conf.compose import compose_pipeline
from conf.launch import checking_settings
from pipelines.commands import Pipeline, check_commands, cost_of
from pipelines.ledger import Ledger
from pipelines.runner import check_started
from run.cost import price_of
from tools.planner.hardware import gpu_of_device
from tools.planner.pipeline import Machine, StagePlan, plan_stage
from workers.nvidia import visible_gpus

UNKNOWN = "?"


@dataclass(frozen=True)
class Estimate:
    """minutes: by stage, without those that are not known; source: where they come from; problems: why the planner
    does not know the others."""

    minutes: Mapping[str, float]
    usd_per_hour: float
    source: str
    problems: tuple[str, ...] = ()


def main() -> None:
    with checking_settings():
        pipeline = Pipeline(compose_pipeline(sys.argv[1:]))
        check_commands(pipeline)
        ledger = Ledger(pipeline)
        check_started(ledger)
        console, expected = Console(), estimate(pipeline)
        console.print(table(ledger, expected))
        for problem in expected.problems:
            console.print(f"no minutes: {problem}", markup=False, highlight=False, soft_wrap=True)


def estimate(pipeline: Pipeline) -> Estimate:
    """The expected minutes of the stages on this machine."""
    gpus = visible_gpus()
    if not gpus:
        known = {name: pipeline.minutes(name) for name in pipeline.stages}
        minutes = {name: each for name, each in known.items() if each is not None}
        return Estimate(minutes, price_of(cost_of(pipeline), None, []).usd_per_hour, "measured on two CPU cores")
    names = [gpu.name for gpu in gpus]
    price = price_of(cost_of(pipeline), None, names)
    expected = Estimate({}, price.usd_per_hour, f"calculated for {len(gpus)} x {names[0]}")
    try:
        machine = Machine(gpu_of_device(names[0]), len(gpus))
    except ValueError as error:
        return replace(expected, problems=(str(error),))
    plans, problems = dict[str, StagePlan](), list[str]()
    for name in pipeline.stages:
        try:
            plans[name] = plan_stage(pipeline, name, plans, machine)
        except ValueError as error:
            problems.append(str(error))
    minutes = {name: plan.seconds / 60 for name, plan in plans.items()}
    return replace(expected, minutes=minutes, problems=tuple(problems))


def table(ledger: Ledger, expected: Estimate) -> Table:
    """The stages with the measured minutes of the finished ones and the expected minutes of the others. A stage without
    an estimate has a question mark."""
    shown = Table(
        title=f"minutes of stages that have not finished: {expected.source}", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading in ("stage", "kind", "arm", "state"):
        shown.add_column(heading, no_wrap=heading != "arm")
    for heading in ("minutes", "$"):
        shown.add_column(heading, justify="right", no_wrap=True)
    total, is_complete = 0.0, True
    for name, stage in ledger.pipeline.stages.items():
        minutes = ledger.seconds(name) / 60 if ledger.is_finished(name) else expected.minutes.get(name)
        total, is_complete = total + (minutes or 0.0), is_complete and minutes is not None
        shown.add_row(name, stage.kind, stage.arm, ledger.state(name), *_figures(minutes, expected.usd_per_hour))
    shown.add_section()
    label = "total" if is_complete else "total, without ?"
    shown.add_row(label, "", "", "", *_figures(total, expected.usd_per_hour))
    return shown


def _figures(minutes: float | None, usd_per_hour: float) -> tuple[str, str]:
    if minutes is None:
        return UNKNOWN, UNKNOWN
    return f"{minutes:.1f}", f"{minutes / 60 * usd_per_hour:.2f}"


if __name__ == "__main__":
    main()

"""Run a pipeline: several trainings that build on each other, with their data and evaluations.

    make pipeline PIPELINE=r1
    python -m pipelines pipeline=r1 model=tiny env=countdown seed=1 rl.num_steps=20

A stage is an ordinary run in outputs/<run>/<stage>/. A finished stage is not run again, and an interrupted one goes on.
With dry=true the stages are listed, with minutes and dollars, and none is started.
"""

import subprocess
import sys
from contextlib import nullcontext

from rich.console import Console

from conf.compose import compose_pipeline
from conf.launch import checking_settings, explaining_disk_errors
from pipelines.commands import Pipeline, check_commands
from pipelines.ledger import Ledger
from pipelines.listing import list_stages
from pipelines.runner import check_started, run_pipeline
from run.lock import lock

LIST_GPUS = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]


def main() -> None:
    console = Console()
    with checking_settings():
        pipeline = Pipeline(compose_pipeline(sys.argv[1:]))
        check_commands(pipeline)
        held = nullcontext() if pipeline.cfg.dry else lock(pipeline.folder, "choose another run=NAME")
        ledger = Ledger(pipeline)
        check_started(ledger)
        if pipeline.cfg.dry:
            console.print(list_stages(ledger, *expected_minutes(pipeline)))
            return
    with explaining_disk_errors(), held:
        run_pipeline(ledger, console)


def expected_minutes(pipeline: Pipeline) -> tuple[dict[str, float], float, str]:
    """The expected minutes of the stages on this machine, its price per hour, and where the minutes come from.

    Raises:
        ValueError: a stage does not fit on the GPUs.
    """
    try:
        gpus = subprocess.run(LIST_GPUS, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        measured = {name: pipeline.minutes(name) for name in pipeline.stages}
        return {name: each for name, each in measured.items() if each is not None}, 0.0, "measured on two CPU cores"
    from tools.planner.hardware import gpu_of_device
    from tools.planner.pipeline import Machine, plan_pipeline

    machine = Machine(gpu_of_device(gpus[0]), len(gpus))
    plans = plan_pipeline(pipeline, machine)
    planned = {name: plan.seconds / 60 for name, plan in plans.items()}
    return planned, machine.price.usd_per_hour, f"calculated for {len(gpus)} x {gpus[0]}"


if __name__ == "__main__":
    main()

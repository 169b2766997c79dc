"""Run a pipeline: several trainings that build on each other, with their data and evaluations.

    make pipeline PIPELINE=r1
    python -m pipelines pipeline=r1 model=tiny env=countdown seed=1 rl.num_steps=20

A stage is an ordinary run in outputs/<run>/<stage>/. A finished stage is not run again, and an interrupted one resumes.
"""

import sys

from rich.console import Console

from conf.compose import compose_pipeline
from conf.launch import checking_settings, explaining_errors
from pipelines.commands import Pipeline, check_commands
from pipelines.ledger import Ledger
from pipelines.runner import check_started, run_pipeline
from run.lock import lock


def main() -> None:
    with explaining_errors():
        with checking_settings():
            pipeline = Pipeline(compose_pipeline(sys.argv[1:]))
            check_commands(pipeline)
            held = lock(pipeline.folder, "choose another run=NAME")
            ledger = Ledger(pipeline)
            check_started(ledger)
        with held:
            run_pipeline(ledger, Console())


if __name__ == "__main__":
    main()

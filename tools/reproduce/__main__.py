"""Test the claims of conf/claims/: run what they compare, and write a verdict on each.

    make reproduce                                     # all claims, three seeds
    make reproduce CLAIM="rl_lifts aha" SEEDS=1        # two of them, one seed
    make reproduce DRY=1                               # the runs, minutes and dollars; starts nothing
    make reproduce SEEDS=3,4,5 RUN=again               # other seeds, in outputs/again
    make reproduce RUN=long ARGS="tiny_rl.num_steps=36"  # overrides of the pipeline `reproduce`

The runs are stages of conf/pipeline/reproduce.yaml in outputs/reproduce/seed<K>/, shared between claims: a finished one
is not run again, and an interrupted one resumes. results.json and report.html are written after each seed.
"""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.compose import compose_claims, compose_pipeline
from conf.launch import checking_settings, explaining_errors
from conf.reproduce import REPRODUCE, ClaimConfig
from grpo.settings import one_of
from pipelines.commands import Known, Pipeline, check_commands, cost_of, stage_settings
from pipelines.ledger import Ledger
from pipelines.runner import check_started, run_pipeline
from run.cost import price_of
from run.files import replace_json
from run.lock import lock
from tools.reproduce.experiment import Experiment, full_terms
from tools.reproduce.listing import list_runs, list_verdicts
from tools.reproduce.measures import MEASURES
from tools.reproduce.outputs import SeedRun
from tools.reproduce.page import write_page
from tools.reproduce.results import all_results
from workers.models import check_model


def main() -> None:
    args = parse(sys.argv[1:])
    console = Console()
    with explaining_errors(), ExitStack() as held:
        with checking_settings():
            claims = compose_claims(args.claims)
            seeds = read_seeds(args.seeds)
            check_overrides(args.overrides)
            folder = Path("outputs", args.run)
            wanted = stages_of(claims)
            pipelines = {seed: pipeline_of(args.run, seed, wanted, args.overrides) for seed in seeds}
            check_claims(claims)
            first = pipelines[seeds[0]]  # those of other seeds differ in the seed alone
            check_commands(first)
            if not args.dry:
                check_models(first)
                for pipeline in pipelines.values():
                    held.enter_context(lock(pipeline.folder, "choose another --run=NAME"))
            ledgers = {seed: Ledger(pipeline) for seed, pipeline in pipelines.items()}
            for ledger in ledgers.values():
                check_started(ledger)
            if args.dry:
                console.print(list_runs(claims, list(ledgers.values()), price_of(cost_of(first), None, [])))
                return
        for number, (seed, ledger) in enumerate(ledgers.items(), 1):
            console.print(f"seed {seed} ({number} of {len(ledgers)})", highlight=False)
            run_pipeline(ledger, console)
            with checking_settings():
                write_results(folder, seeds, args.run, args.overrides, console)
            if not all(map(ledger.is_finished, ledger.pipeline.stages)):
                return  # the user has stopped it


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.reproduce", description=__doc__, formatter_class=raw)
    parser.add_argument("--claims", nargs="*", default=[], help="names of files in conf/claims/; all by default")
    parser.add_argument("--seeds", default="3", help="how many, from 0, or a list such as 3,4,5")
    parser.add_argument("--run", default="reproduce", help="the runs are in outputs/RUN/seed<K>/")
    parser.add_argument("--dry", action="store_true", help="list the runs, minutes and dollars, and start nothing")
    parser.add_argument("overrides", nargs="*", help="STAGE.KEY=VALUE or KIND.KEY=VALUE, as for `make pipeline`")
    return parser.parse_args(arguments)


def read_seeds(text: str) -> list[int]:
    """The seeds for "3" (0, 1 and 2) or for a list such as "3,4,5" or "7,".

    Raises:
        ValueError: it is neither.
    """
    parts = [part for part in text.split(",") if part]
    if parts and all(part.isdecimal() for part in parts):
        seeds = list(dict.fromkeys(map(int, parts))) if "," in text else list(range(int(text)))
        if seeds:
            return seeds
    raise ValueError(f"SEEDS={text}: give their number, such as 3, or a list, such as 3,4,5 or 7,")


def check_overrides(overrides: Sequence[str]) -> None:
    """
    Raises:
        ValueError: an override is not that of a stage. Seeds that are set for all of them alike, for example, would be
            the same run several times.
    """
    for override in overrides:
        if "." not in override.partition("=")[0]:
            raise ValueError(
                f"ARGS={override}: give overrides of stages, STAGE.KEY=VALUE or KIND.KEY=VALUE; the seeds, the folder "
                "and the claims are set by SEEDS, RUN and CLAIM"
            )


def pipeline_of(run: str, seed: int, stages: Sequence[str], overrides: Sequence[str]) -> Pipeline:
    only = f"only=[{','.join(stages)}]"
    given = [f"pipeline={REPRODUCE}", f"run={run}/seed{seed}", f"seed={seed}", only]
    return Pipeline(compose_pipeline([*given, *overrides]))


def other_pipeline(name: str, seed: int) -> Pipeline:
    """A pipeline that `make pipeline` runs, in the folder that it has by default."""
    return Pipeline(compose_pipeline([f"pipeline={name}", f"seed={seed}"]))


def stages_of(claims: Mapping[str, ClaimConfig]) -> list[str]:
    """The stages that the claims read."""
    return list(dict.fromkeys(stage for claim in claims.values() for stage in claim.stages))


def check_claims(claims: Mapping[str, ClaimConfig]) -> None:
    """
    Raises:
        ValueError: a claim names a measure or, of another pipeline, a stage that does not exist, or gives a measure
            wrong options.
    """
    for name, claim in claims.items():
        for each in claim.comparisons:
            if each.pipeline != REPRODUCE:
                allowed = tuple(other_pipeline(each.pipeline, 0).stages)
                for stage in each.stages:
                    one_of(f"conf/claims/{name}.yaml: stage", stage, allowed)
        used = [(str(term.measure), term.options) for each in claim.comparisons for term in full_terms(each)]
        for curve in claim.curves:
            over = {} if curve.over == "level" else {curve.over: curve.values[0]}
            used.append((curve.measure, {**curve.options, **over}))
        for measure, options in used:
            try:
                check_measure(measure, options)
            except ValueError as error:
                raise ValueError(f"conf/claims/{name}.yaml: {error}") from error


def check_measure(name: str, options: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: there is no such measure, or it does not have these options.
    """
    one_of("measure", name, tuple(MEASURES))
    measure = MEASURES[name]
    function, read = (measure.of_completions, 1) if measure.of_completions else (measure.of_stage, 2)
    assert function is not None
    try:
        inspect.signature(function).bind(*[None] * read, **options)
    except TypeError as error:
        raise ValueError(f"measure={name}: {error}") from error


def check_models(pipeline: Pipeline) -> None:
    """
    Raises:
        ValueError: a model that a stage starts from is missing; the message names the stage.
    """
    given = {stage.model: name for name, stage in pipeline.stages.items() if stage.model not in pipeline.stages}
    for name in given.values():
        try:
            cfg = stage_settings(pipeline.stages[name].kind, pipeline.overrides(name, Known()))
            check_model(cfg.model, cfg.rollout, cfg.topology)
        except ValueError as error:
            raise ValueError(f"stages.{name}: {error}") from error


def write_results(folder: Path, seeds: Sequence[int], run: str, overrides: Sequence[str], console: Console) -> None:
    """Write results.json and report.html of all claims, also of those whose stages earlier commands have run, unless
    they have run with other settings."""
    claims = compose_claims()
    pipelines = {REPRODUCE: [pipeline_of(run, seed, stages_of(claims), overrides) for seed in seeds]}
    for name in sorted({each.pipeline for claim in claims.values() for each in claim.comparisons} - {REPRODUCE}):
        pipelines[name] = [other_pipeline(name, seed) for seed in seeds]
    ledgers = {name: [Ledger(pipeline) for pipeline in of_seeds] for name, of_seeds in pipelines.items()}
    for ledger in (each for of_seeds in ledgers.values() for each in of_seeds):
        for difference in ledger.forget_changed():
            console.print(f"{ledger.pipeline.folder}: does not count: {difference}", markup=False, soft_wrap=True)
    price = price_of(cost_of(pipelines[REPRODUCE][0]), None, [])
    experiments = {name: Experiment(list(map(SeedRun, of_seeds)), price) for name, of_seeds in ledgers.items()}
    results = all_results(claims, experiments)
    replace_json(folder / "results.json", results)
    console.print(list_verdicts(results))
    console.print(f"report: {write_page(folder, results)}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()

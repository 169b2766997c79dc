"""The results of a soak: a line for each trial, a table at the end, and soak.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from run.files import replace_json
from tools.soak.check import Result, Undisturbed


def line_of(result: Result) -> str:
    """A trial in one line."""
    trial, codes = result.trial, ", ".join(map(str, result.codes))
    state = "; ".join(result.problems) or ("equal" if result.hit else "equal, but the run ended before the fault")
    outcome = f"{result.outcome} ({'exit code' if len(result.codes) == 1 else 'exit codes'} {codes})"
    return f"{trial.number:>3}  {trial.name}  [{trial.when}]  {outcome}  {state}  {result.seconds:.0f} s"


def show_table(console: Console, results: Sequence[Result]) -> None:
    """Print how the trials of each kind of fault ended, and all problems."""
    table = Table(title="faults and what became of the runs")
    table.add_column("fault")
    for heading in ("trials", "continues by itself", "by the same command", "equal", "failed"):
        table.add_column(heading, justify="right")
    names = sorted({result.trial.name for result in results})
    for name in [*names, "all"]:
        counts = counts_of([result for result in results if name in (result.trial.name, "all")])
        table.add_row(name, *map(str, counts.values()), style="red" if counts["failed"] else None)
    console.print(table)
    for result in results:
        for problem in result.problems:
            console.print(f"trial {result.trial.number}, {result.trial.name}: {problem}", style="red", markup=False)


def counts_of(results: Sequence[Result]) -> dict[str, int]:
    outcomes = [result.outcome for result in results]
    return {
        "trials": len(results),
        "by itself": outcomes.count("by itself"),
        "by the same command": outcomes.count("by the same command"),
        "equal": sum(not result.problems for result in results),
        "failed": sum(bool(result.problems) for result in results),
    }


def write_json(path: Path, seed: int, undisturbed: Undisturbed, results: Sequence[Result]) -> None:
    timing = undisturbed.timing
    content = {
        "seed": seed,
        "undisturbed": {"seconds": timing.total, "start_seconds": timing.start, "durations": timing.durations},
        "summary": counts_of(results),
        "trials": [as_json(result) for result in results],
    }
    replace_json(path, content)


def as_json(result: Result) -> dict[str, Any]:
    trial = result.trial
    drawn = {"number": trial.number, "fault": trial.name, "moment": trial.moment, "step": trial.step}
    drawn["fraction"] = trial.fraction
    ended = {name: value for name, value in vars(result).items() if name != "trial"}
    return drawn | ended | {"goes_on": result.outcome}

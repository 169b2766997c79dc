"""Write the report of a sweep from the run folders of its jobs: python -m report.sweep outputs/sweeps/NAME"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from report.sweep_results import (
    FAILED,
    FINISHED,
    RUNNING,
    WAITING,
    Job,
    SeedMean,
    SweepVariant,
    last_line,
    read_variants,
)
from run.cost import dollars

NO_VALUE = "-"


def write_report(sweep_folder: Path) -> str:
    """Write sweep.md, and sweep.png if a job has finished, and return the table.

    Raises:
        ValueError: this is not the folder of a sweep.
    """
    from report.sweep_picture import draw  # matplotlib is slow to import, and every job imports this file

    variants = read_variants(sweep_folder)
    finished = [variant for variant in variants if variant.results]
    picture = sweep_folder / "sweep.png"
    if finished:
        draw(finished, picture)
    else:
        picture.unlink(missing_ok=True)
    report = table(finished)
    lines = [f"# {sweep_folder.name}", "", *report, "", *notes(finished, variants[0].jobs[0].baseline), ""]
    if finished:
        lines += ["![final accuracy by seed, and accuracy over tokens](sweep.png)", ""]
    if missing := list(unfinished(sweep_folder, variants)):
        lines += ["## Not in the table", "", *missing, ""]
    (sweep_folder / "sweep.md").write_text("\n".join(lines), encoding="utf-8")
    return "\n".join([*report, *missing])


def table(variants: Sequence[SweepVariant]) -> list[str]:
    """A Markdown table with one row per variant."""
    heads = ["variant", "seeds", "step 0", "final", "vs. baseline (points)", "tokens", "seconds", "USD"]
    rows = [heads]
    for variant in variants:
        done, planned = len(variant.results), len(variant.jobs)
        rows.append(
            [
                variant.name,
                str(done) if done == planned else f"{done} of {planned}",
                percent(variant.accuracy("step0")),
                percent(variant.accuracy("final")),
                difference(variant),
                f"{variant.mean('tokens'):,.0f}",
                f"{variant.mean('seconds'):,.0f}",
                dollars(variant.mean("usd")),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    names = [row[0].ljust(widths[0]) for row in rows]
    cells = [[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    head, *body = [f"| {' | '.join([name, *row])} |" for name, row in zip(names, cells, strict=True)]
    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return [head, f"| {rule} |", *body]


def percent(value: SeedMean, sign: str = "", unit: str = "%") -> str:
    """Mean and half the width of its interval in percent, as in "71.3% ± 6.0"."""
    half = NO_VALUE if value.half is None else f"{100 * value.half:.1f}"
    return f"{100 * value.mean:{sign}.1f}{unit} ± {half}"


def difference(variant: SweepVariant) -> str:
    if variant.is_baseline:
        return "baseline"
    if variant.difference is None:
        return NO_VALUE
    text = percent(variant.difference, "+", unit="")
    pairs = variant.difference.n
    return text if pairs == len(variant.results) else f"{text} ({pairs} pairs)"


def notes(variants: Sequence[SweepVariant], baseline: dict[str, str]) -> Iterator[str]:
    """Notes on how to read the table."""
    yield "Accuracy: held-out problems, exact correctness, sampled. Tokens, seconds and USD: mean per job."
    yield "±: 95% confidence interval of the mean over seeds (Student's t)" + (
        "; a single seed has no interval (± -)." if any(len(v.results) == 1 for v in variants) else "."
    )
    named = " ".join(f"{key}={value}" for key, value in baseline.items())
    if named:
        yield (
            f"vs. baseline ({named}): final accuracy minus that of the baseline job with the same seed, in percentage "
            "points."
        )
    if variants and not any(variant.is_baseline for variant in variants):
        yield f"No job of the baseline {named} has finished."


def unfinished(sweep_folder: Path, variants: Sequence[SweepVariant]) -> Iterator[str]:
    """Yield one line per job that has not finished, with the reason."""
    for job in (job for variant in variants for job in variant.jobs if job.status != FINISHED):
        log = sweep_folder / job.name / "job.log"
        yield f"- {job.name}: {reason(job, log)}" + (f" ({log})" if log.is_file() else "")


def reason(job: Job, log: Path) -> str:
    """Why a job has no result. The status of a job is still "running" after its sweep was killed."""
    if job.status == FAILED:
        cause = signal_name(job.exit_code) if (job.exit_code or 0) < 0 else last_line(log)
        return f"failed: {cause or f'exit code {job.exit_code}'}"
    return {RUNNING: "running, or killed with its sweep", WAITING: "not started"}.get(job.status, job.status)


def signal_name(exit_code: int | None) -> str:
    """Describe a negative exit code, which means that a signal killed the process."""
    number = -(exit_code or 0)
    names = {member.value: member.name for member in signal.Signals}
    return f"killed by {names.get(number, f'signal {number}')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="outputs/sweeps/NAME")
    folder = parser.parse_args().folder
    try:
        print(write_report(folder))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    print(f"{folder / 'sweep.md'}")


if __name__ == "__main__":
    main()

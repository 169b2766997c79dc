"""The report of a sweep, from the run folders of its jobs: python -m report.sweep outputs/sweeps/NAME"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from report.sweep_results import FAILED, FINISHED, RUNNING, WAITING, Estimate, Job, Variant, last_line, read_variants

NO_VALUE = "-"


def write_report(sweep_folder: Path) -> str:
    """Write sweep.md, and sweep.png where a job has finished; returns the table.

    Raises:
        ValueError: no sweep lies there.
    """
    from report.sweep_picture import draw  # matplotlib takes long to import, and each job imports this file

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
        lines += ["## Not finished", "", *missing, ""]
    (sweep_folder / "sweep.md").write_text("\n".join(lines), encoding="utf-8")
    return "\n".join([*report, *missing])


def table(variants: Sequence[Variant]) -> list[str]:
    """A row a variant, as Markdown."""
    heads = ["variant", "seeds", "step 0", "final", "to the baseline (points)", "tokens", "seconds", "USD"]
    rows = [heads]
    for variant in variants:
        done, planned = len(variant.results), len(variant.jobs)
        rows.append(
            [
                variant.name,
                str(done) if done == planned else f"{done} of {planned}",
                percent(variant.estimate("step0")),
                percent(variant.estimate("final")),
                difference(variant),
                f"{variant.mean('tokens'):,.0f}",
                f"{variant.mean('seconds'):,.0f}",
                f"{variant.mean('usd'):.2f}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    names = [row[0].ljust(widths[0]) for row in rows]
    cells = [[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    head, *body = [f"| {' | '.join([name, *row])} |" for name, row in zip(names, cells, strict=True)]
    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return [head, f"| {rule} |", *body]


def percent(value: Estimate, sign: str = "", unit: str = "%") -> str:
    """Mean and half the width of its interval in percent, as "71.3% ± 6.0"."""
    half = NO_VALUE if value.half is None else f"{100 * value.half:.1f}"
    return f"{100 * value.mean:{sign}.1f}{unit} ± {half}"


def difference(variant: Variant) -> str:
    if variant.is_baseline:
        return "baseline"
    if variant.difference is None:
        return NO_VALUE
    text = percent(variant.difference, "+", unit="")
    pairs = variant.difference.n
    return text if pairs == len(variant.results) else f"{text} ({pairs} pairs)"


def notes(variants: Sequence[Variant], baseline: dict[str, str]) -> Iterator[str]:
    """How the table is to be read."""
    yield "Accuracy: held-out problems, exact correctness, sampled. Tokens, seconds and USD: the mean of a job."
    yield "±: 95% interval of the mean over seeds (Student's t)" + (
        "; a single seed has none (± -)." if any(len(v.results) == 1 for v in variants) else "."
    )
    named = " ".join(f"{key}={value}" for key, value in baseline.items())
    yield f"To the baseline ({named}): final accuracy less that of the job with the same seed, in percentage points."
    if variants and not any(variant.is_baseline for variant in variants):
        yield f"No job of the baseline {named} has finished."


def unfinished(sweep_folder: Path, variants: Sequence[Variant]) -> Iterator[str]:
    """A line a job that has not finished, with the reason."""
    for job in (job for variant in variants for job in variant.jobs if job.status != FINISHED):
        log = sweep_folder / job.name / "job.log"
        yield f"- {job.name}: {reason(job, log)}" + (f" ({log})" if log.is_file() else "")


def reason(job: Job, log: Path) -> str:
    """Why a job has no result. A job that a killed sweep left behind still says that it runs."""
    if job.status == FAILED:
        cause = signal_name(job.exit_code) if (job.exit_code or 0) < 0 else last_line(log)
        return f"failed: {cause or f'exit code {job.exit_code}'}"
    return {RUNNING: "running, or ended with its sweep", WAITING: "not started"}.get(job.status, job.status)


def signal_name(exit_code: int | None) -> str:
    """How a process ended that a signal killed, by its negative exit code."""
    number = -(exit_code or 0)
    names = {one.value: one.name for one in signal.Signals}
    return f"killed by {names.get(number, f'signal {number}')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="outputs/sweeps/NAME")
    folder = parser.parse_args().folder
    try:
        print(write_report(folder))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    print(f"{folder / 'sweep.md'}")


if __name__ == "__main__":
    main()

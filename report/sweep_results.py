"""The jobs of a sweep and their results: means, 95% confidence intervals, paired differences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from run.cost import step_tokens
from run.files import DamagedFile, read_json, replace_json
from run.folder import RunFolder

FINISHED, FAILED, STOPPED, RUNNING, WAITING = "finished", "failed", "stopped", "running", "not started"
OVER_BUDGET = "ended by budget.usd before its last step; a larger budget continues it"
REASON_LENGTH = 300  # characters


@dataclass
class Job:
    """One run of a sweep, as planned and run by tools/sweep.

    sweep       name of the sweep
    name        name of the job, and of its folder
    variant     name of everything that varies, except the seed
    overrides   keys that vary within the sweep, including the seed, with this job's values
    baseline    the overrides that turn this job into the one it is compared with
    status      one of the constants above
    exit_code   of the trainer; negative if a signal killed it
    common      the other overrides that affect the result, the same for all jobs of a plan
    """

    sweep: str
    name: str
    variant: str
    overrides: dict[str, str]
    baseline: dict[str, str]
    status: str = WAITING
    exit_code: int | None = None
    common: dict[str, str] = field(default_factory=dict)

    def write(self, sweep_folder: Path) -> None:
        _write_json(sweep_folder / self.name / "job.json", asdict(self))


def write_plan(sweep_folder: Path, jobs: Sequence[Job]) -> None:
    """Record all jobs of a sweep, in order, before the first one starts."""
    _write_json(sweep_folder / "sweep.json", {"jobs": [asdict(job) for job in jobs]})


def read_plan(sweep_folder: Path) -> list[Job]:
    path = sweep_folder / "sweep.json"
    return [_job(row, path) for row in read_json(path, "remove it", ["jobs"])["jobs"]] if path.is_file() else []


def read_jobs(sweep_folder: Path) -> list[Job]:
    """Jobs in the order of the last plan, followed by those of earlier plans by name. All of them are compared with the
    baseline of the last plan. Those that had other settings in common than the jobs of the last plan do not count.

    Raises:
        ValueError: the folder has no jobs.
        DamagedFile: a file was not written by a sweep.
    """
    jobs = {job.name: job for job in read_plan(sweep_folder)}
    for path in sorted(sweep_folder.glob("*/job.json")):
        jobs[path.parent.name] = _job(read_json(path, "remove it"), path)
    if not jobs:
        raise ValueError(f"{sweep_folder}: not the folder of a sweep; give a folder outputs/sweeps/NAME")
    last = next(iter(jobs.values()))
    for job in jobs.values():
        job.baseline = last.baseline
        for key in sorted({*job.common, *last.common}):
            if job.common.get(key) != last.common.get(key):
                job.status = f"does not count, has {key}={job.common.get(key)} instead of {last.common.get(key)}"
    return list(jobs.values())


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, or "" if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    filled = [line.strip() for line in lines if line.strip()]
    return filled[-1][:REASON_LENGTH] if filled else ""


@dataclass(frozen=True)
class SeedMean:
    """The mean of n values. half: half the width of its 95% confidence interval, None for a single value."""

    mean: float
    half: float | None
    n: int


def seed_mean(values: Sequence[float]) -> SeedMean:
    """The mean with its 95% confidence interval by Student's t: t(0.975, n - 1) * s / sqrt(n)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return SeedMean(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return SeedMean(mean, t_quantile(0.975, n - 1) * spread / math.sqrt(n), n)


def t_quantile(probability: float, freedom: int) -> float:
    """The t with P(T <= t) = probability, 0.5 <= probability < 1, by bisection."""
    assert 0.5 <= probability < 1
    low, high = 0.0, 1.0
    while t_central(high, freedom) < 2 * probability - 1:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if t_central(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_central(t: float, freedom: int) -> float:
    """P(|T| <= t) for integer degrees of freedom, by the exact formulas 26.7.3 and 26.7.4 of Abramowitz and Stegun."""
    theta = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


@dataclass
class JobResult:
    """A finished job with its summary.json and its curve of (completion tokens, held-out accuracy)."""

    job: Job
    summary: Mapping[str, Any]
    curve: list[tuple[float, float]]

    def accuracy(self, when: str) -> float:
        return float(self.summary["accuracy"][when]["sampled"])


@dataclass
class SweepVariant:
    """Jobs that differ only in the seed. difference: from the baseline; None for a baseline, or if no job has a
    counterpart in the baseline."""

    name: str
    jobs: list[Job] = field(default_factory=list)
    results: list[JobResult] = field(default_factory=list)
    is_baseline: bool = False
    difference: SeedMean | None = None

    def accuracy(self, when: str) -> SeedMean:
        return seed_mean([result.accuracy(when) for result in self.results])

    def mean(self, key: str) -> float:
        return math.fsum(float(result.summary[key]) for result in self.results) / len(self.results)


def read_variants(sweep_folder: Path) -> list[SweepVariant]:
    """All variants, the most accurate one first and those without a finished job last."""
    jobs = read_jobs(sweep_folder)
    variants: dict[str, SweepVariant] = {}
    results: dict[frozenset[tuple[str, str]], JobResult] = {}
    for job in jobs:
        variant = variants.setdefault(job.variant, SweepVariant(job.variant))
        variant.jobs.append(job)
        if job.status == FINISHED:
            result = read_result(job, RunFolder(sweep_folder / job.name))
            variant.results.append(result)
            results[frozenset(job.overrides.items())] = result
    for variant in variants.values():
        first = variant.jobs[0]
        variant.is_baseline = first.baseline.items() <= first.overrides.items()
        pairs = [(r, results.get(frozenset((r.job.overrides | r.job.baseline).items()))) for r in variant.results]
        differences = [r.accuracy("final") - other.accuracy("final") for r, other in pairs if other is not None]
        if differences and not variant.is_baseline:
            variant.difference = seed_mean(differences)
    return sorted(variants.values(), key=lambda v: -v.accuracy("final").mean if v.results else 1)


def read_result(job: Job, folder: RunFolder) -> JobResult:
    summary = read_json(folder.summary, "remove it, and run the sweep again to write it", ["accuracy"])
    return JobResult(job, summary, list(curve(folder.metric_rows())))


def curve(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, float]]:
    """Yield (completion tokens so far, sampled held-out accuracy) for each evaluation. An evaluation is in the row of
    the step that follows it, so that step's tokens count afterwards."""
    tokens = 0.0
    for row in rows:
        if "eval/sampled" in row:
            yield tokens, row["eval/sampled"]
        tokens += step_tokens(row)


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, accuracy), each [points]: the mean over seeds. Seeds are evaluated at different numbers of tokens, so
    each one is interpolated linearly; the mean ends where the first seed ends."""
    end = min(points[-1][0] for points in curves)
    tokens = np.array(sorted({x for points in curves for x, _ in points if x <= end}))
    lines = [np.interp(tokens, *np.array(points).T) for points in curves]
    return tokens, np.mean(lines, axis=0)


def _job(row: Mapping[str, Any], path: Path) -> Job:
    try:
        return Job(**row)
    except TypeError as error:
        raise DamagedFile(f"{path}: not written by a sweep ({error}); remove it") from error


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, content)

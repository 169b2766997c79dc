"""Measure how the time and the memory of a long run grow with its length.

    python -m tools.load                              # everything at two sizes, 1:10 (about 20 minutes)
    python -m tools.load metrics --sizes 1000 10000

Each measurement is a process of its own. The exit code is 1 if an item of the larger size takes more than GROWTH times
the processor time, or the memory grows by more than GROWTH times the ratio of the sizes.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console

from envs.countdown.task import Countdown
from envs.score import Scorer
from grpo.types import Completion, Group, Problem, Rollout, Score
from report import write_report
from rewards.mix import RewardConfig
from run.cost import Meter, Progress
from run.folder import RunFolder
from run.monitor import Monitor
from run.reflection import read_groups
from run.terminal import Terminal
from run.trackers import Trackers

ROOT = Path(__file__).resolve().parents[1]
GROWTH = 1.5
GROUP_SIZE = 64
SAMPLES = 10  # per step
SMALL_MB = 50.0  # growth of memory that is not looked at
METRICS = 60  # per step, about as many as a run of the tiny model has
TEXT = " 16 - 8 = 8, 8 * 4 = 32 high\n 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 - 8 + 4 </answer>"
PROBLEM = Problem("countdown", "", "make 12 from 16 8 4", "(16 - 8) + 4", {"numbers": [16, 8, 4], "target": 12})


@dataclass(frozen=True)
class Usage:
    """What a measurement used: processor time in seconds, and the peak of memory above that at its start, in MB."""

    seconds: float
    mb: float
    page_mb: float = 0.0


def metrics_of(step: int) -> dict[str, float]:
    """The metrics of a step. Some steps have a failure of the grader or a spike of the gradient."""
    rng = random.Random(step)
    named = {
        "reward/mean": rng.random(),
        "reward/errors": float(rng.random() < 0.01),
        "policy/entropy": rng.random(),
        "policy/grad_norm": rng.random() * (1000 if rng.random() < 0.01 else 1),
        "length/mean": 20 + rng.random(),
        "length/truncated": 0.1,
        "rollout/tokens": 1000.0,
        "reflection/n": 256.0,
        "reflection/waits": 0.1 if step < 10 else 0.9,
    }
    if step % 100 == 0:
        named |= {"eval/sampled": rng.random(), "eval/greedy": rng.random(), "eval/n": 512.0, "eval/length": 20.0}
    return named | {f"other/{number}": rng.random() for number in range(METRICS - len(named))}


def monitor(folder: RunFolder, num_steps: int) -> Monitor:
    folder.path.mkdir(exist_ok=True)
    folder.samples.touch()
    console = Console(file=Path(os.devnull).open("w"))  # noqa: SIM115 - for the lifetime of the process
    return Monitor(Countdown(), folder, Trackers(folder.path, print), Terminal(Progress(num_steps), console), Meter())


def write_samples(folder: RunFolder, steps: int) -> None:
    """SAMPLES completions per step, held-out ones every 100 steps."""
    for step in range(steps):
        correct = step % 3 == 0
        score = Score(float(correct), correct, {"correct": float(correct)}, "")
        rollouts = [Rollout(completion(sample), score) for sample in range(SAMPLES)]
        is_evaluation = step % 100 == 0
        keys = [f"held out {sample}" if is_evaluation else f"{step} {sample}" for sample in range(SAMPLES)]
        groups = [
            Group(Problem(PROBLEM.env, key, PROBLEM.prompt, PROBLEM.answer, PROBLEM.fields), (rollout,))
            for key, rollout in zip(keys, rollouts, strict=True)
        ]
        folder.add_samples(step, "eval" if is_evaluation else "train", groups, read_groups(Countdown(), groups))


def completion(index: int) -> Completion:
    tokens = tuple(range(20, 60))
    return Completion((1, 2, 3), tokens, f" {index} + 0 = {index} low\n{TEXT}", (-0.5,) * len(tokens), "stop", 0)


def measure_metrics(folder: RunFolder, size: int) -> float:
    """What the monitor does at each step: metrics, alerts, aha events, progress and terminal."""
    with monitor(folder, size) as watching:
        for step in range(size):
            watching.log_update(step, metrics_of(step), {"generate": 1.0, "update": 1.0}, 2.0)
        watching.finish("ab")
    return 0.0


def measure_samples(folder: RunFolder, size: int) -> float:
    write_samples(folder, size // SAMPLES)
    return 0.0


def measure_resume(folder: RunFolder, size: int) -> float:
    with monitor(folder, size) as watching:
        watching.resume(size - 10)
    return 0.0


def measure_report(folder: RunFolder, size: int) -> float:
    return write_report([folder.path]).stat().st_size / 2**20


def measure_scoring(folder: RunFolder, size: int) -> float:
    """`size` problems with GROUP_SIZE completions each, in one step."""
    env = Countdown()
    problems = [env.problem(0, "train", index) for index in range(size)]
    with Scorer(env, RewardConfig({"correct": 1.0, "answered": 0.1})) as scorer:
        written: Iterator[tuple[int, Completion]] = ((i, completion(i)) for i in range(size * GROUP_SIZE))
        groups = scorer.score(problems, written, GROUP_SIZE)
    assert len(groups) == size and not any(r.score.error for group in groups for r in group.rollouts)
    return 0.0


# Name -> (what is counted, what prepares the folder, the measurement, the two sizes).
Measurement = tuple[str, Callable[[RunFolder, int], None], Callable[[RunFolder, int], float], tuple[int, int]]


def prepare_nothing(folder: RunFolder, size: int) -> None:
    folder.path.mkdir(exist_ok=True)


def prepare_rows(folder: RunFolder, size: int) -> None:
    """metrics.jsonl and events.jsonl alone, without the monitor, which takes milliseconds per step."""
    folder.path.mkdir(exist_ok=True)
    folder.samples.touch()
    for step in range(size):
        folder.add_metrics({"step": step, **metrics_of(step), "time/step": 2.0, "cost/usd": 0.0})
        if step % 100 == 0:
            folder.add_event(step, {"kind": "alert", "name": "truncated", "message": "text", "advice": "text"})


def prepare_report(folder: RunFolder, size: int) -> None:
    prepare_rows(folder, size)
    write_samples(folder, size)


MEASUREMENTS: dict[str, Measurement] = {
    "metrics": ("steps", prepare_nothing, measure_metrics, (10_000, 100_000)),
    "samples": ("samples", prepare_nothing, measure_samples, (100_000, 1_000_000)),
    "resume": ("steps", prepare_rows, measure_resume, (10_000, 100_000)),
    "report": (f"steps with {SAMPLES} samples each", prepare_report, measure_report, (10_000, 100_000)),
    "scoring": (f"problems with {GROUP_SIZE} completions each", prepare_nothing, measure_scoring, (1_000, 10_000)),
}


def measure(name: str, path: Path, size: int) -> Usage:
    """Run a measurement in this process."""
    _, _, act, _ = MEASUREMENTS[name]
    before, started = psutil.Process().memory_info().rss, _processor_seconds()
    page_mb = act(RunFolder(path), size)
    seconds = _processor_seconds() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Usage(seconds, max(0, peak - before) / 2**20, page_mb)


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_a_process(name: str, path: Path, size: int, what: str) -> str:
    """Prepare or measure in a process of its own; returns the last line that it prints."""
    command = [sys.executable, "-m", "tools.load", name, "--sizes", str(size), f"--{what}", str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def compare(name: str, sizes: Sequence[int], usages: Sequence[Usage]) -> list[str]:
    """In which ways the larger measurement is out of proportion."""
    ratio, (small, large) = sizes[1] / sizes[0], usages
    found = []
    if large.seconds > GROWTH * ratio * small.seconds:
        found.append(f"{name}: the time grew by {large.seconds / small.seconds:.1f} for {ratio:.1f} times the size")
    if large.mb > SMALL_MB and large.mb > GROWTH * ratio * max(small.mb, 1.0):
        found.append(f"{name}: the memory grew by {large.mb / max(small.mb, 1.0):.1f} for {ratio:.1f} times the size")
    return found


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.load", description=__doc__, formatter_class=raw)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(MEASUREMENTS)}; all by default")
    parser.add_argument("--sizes", type=int, nargs="+", help="two sizes, the smaller one first")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare is not None:
        MEASUREMENTS[args.names[0]][1](RunFolder(args.prepare), args.sizes[0])
        return 0
    if args.measure is not None:
        print(json.dumps(asdict(measure(args.names[0], args.measure, args.sizes[0]))))
        return 0
    faults: list[str] = []
    for name in args.names or MEASUREMENTS:
        sizes, usages = args.sizes or MEASUREMENTS[name][3], []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "run")
                in_a_process(name, path, size, "prepare")
                usages.append(Usage(**json.loads(in_a_process(name, path, size, "measure"))))
            used = usages[-1]
            page = f", a page of {used.page_mb:.1f} MB" if used.page_mb else ""
            print(
                f"{name}: {size:,} {MEASUREMENTS[name][0]}: {used.seconds:.1f} CPU s "
                f"({used.seconds / size * 1000:.3f} ms each), {used.mb:.0f} MB{page}",
                flush=True,
            )
        faults += compare(name, sizes, usages)
    print("\n".join(faults) or "in proportion")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

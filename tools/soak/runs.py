"""A short run of the tiny model: its start, its processes, and what it is doing, all observed from outside."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from run.files import read_rows
from run.folder import RunFolder
from tools.gpu_check.runs import ROOT, TINY, TrainingRun
from workers.shared_memory import shared_folder

STEPS, EVALUATE_EVERY = 4, 2
SETTINGS = [
    "model=tiny",
    f"model.path={TINY}",
    "env=countdown",
    "tracker=none",
    "topology=cpu",
    "topology.threads=1",
    f"num_steps={STEPS}",
    "model.max_completion_tokens=48",
    "algorithm.num_prompts=4",
    "algorithm.group_size=4",
    "algorithm.kl.ref_sync_steps=2",
    f"evaluation.every={EVALUATE_EVERY}",
    "evaluation.num_problems=8",
    "evaluation.interim_problems=4",
    "checkpoint.every=1",
]
MOMENTS = ("start", "evaluation", "generation", "update", "weight transfer", "checkpoint")
# The calls of a worker that show what the run is doing; "stream" is generation, for training or for an evaluation.
CALLS = {
    "update": {"update", "ref_logprobs"},
    "weight transfer": {"publish_weights", "load_weights"},
}
PROCESSES = ("driver", "raylet", "gcs_server", "actor", "reference", "rollout", "scorer")
POLL_SECONDS = 0.004
GCS_SECONDS = 3


def start(folder: Path, name: str, overrides: Sequence[str] = ()) -> TrainingRun:
    """Start train_grpo.py in `folder`, with its output in `folder`/`name`.log."""
    return start_command([sys.executable, str(ROOT / "train_grpo.py"), "run=soak", *SETTINGS, *overrides], folder, name)


def start_command(command: Any, folder: Path, name: str) -> TrainingRun:
    log = folder / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    return TrainingRun(process, RunFolder(folder / "outputs" / "soak"), log, time.monotonic())


@contextmanager
def own_ray() -> Iterator[None]:
    """Let Ray write its logs and sockets to a folder that is removed afterwards, and give up on a lost GCS after
    GCS_SECONDS instead of a minute, since a short run would have ended by then."""
    with TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        os.environ |= {"RAY_TMPDIR": folder, "RAY_gcs_rpc_server_reconnect_timeout_s": str(GCS_SECONDS)}
        yield


def process_of(run: TrainingRun, name: str) -> psutil.Process | None:
    """The process of PROCESSES with this name, or None if it does not exist."""
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
        if name == "driver":
            return psutil.Process(run.process.pid)
        if name in ("actor", "reference", "rollout"):
            return run.worker(name)
        for child in psutil.Process(run.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name() == name or (name == "scorer" and "envs.grading" in child.cmdline()):
                    return child
    return None


def moment_of(run: TrainingRun) -> str | None:
    """Which of MOMENTS it is, except "start"; None between them."""
    if any(run.folder.checkpoints.glob(".writing_*")):
        return "checkpoint"
    calls = calls_of(run)
    for moment, names in CALLS.items():
        if calls & names:
            return moment
    if "stream" in calls:
        return "evaluation" if evaluates(run) else "generation"
    return None


def calls_of(run: TrainingRun) -> set[str]:
    """The methods that the workers execute, from the titles that Ray gives their processes: `ray::Actor.update`."""
    calls = set()
    for announced in shared_folder(run.folder.path).glob("*.pid"):
        with suppress(OSError):
            title = Path("/proc", announced.read_text(encoding="utf-8"), "cmdline").read_text(encoding="utf-8")
            calls.add(title.rstrip("\0 ").partition(".")[2].removesuffix("()"))
    return calls


def evaluates(run: TrainingRun) -> bool:
    """Whether an evaluation is due before the next step, and not in samples.jsonl yet."""
    step = len(run.steps)
    if step % EVALUATE_EVERY:
        return False
    samples = read_rows(run.folder.samples) if run.folder.samples.is_file() else ()
    return not any(row["step"] == step and row["kind"].startswith("eval") for row in samples)


@dataclass(frozen=True)
class Timing:
    """How long an undisturbed run takes.

    start      seconds from the command to the first evaluation
    durations  mean seconds of each of MOMENTS except "start"
    total      seconds from the command to the end
    """

    start: float
    durations: dict[str, float]
    total: float


def observe(run: TrainingRun, end: float) -> Timing:
    """Time a run until it ends.

    Raises:
        TimeoutError: it has not ended at `end`, by time.monotonic.
    """
    seconds, visits = dict.fromkeys(MOMENTS[1:], 0.0), Counter[str]()
    before: str | None = None
    since, first = time.monotonic(), 0.0
    while run.process.poll() is None:
        now, moment = time.monotonic(), moment_of(run)
        if moment == "evaluation" and not first:
            first = run.age
        if moment != before:
            if before is not None:
                seconds[before] += now - since
                visits[before] += 1
            before, since = moment, now
        if now > end:
            raise TimeoutError(f"the undisturbed run did not end in {run.age:.0f} s")
        time.sleep(POLL_SECONDS)
    return Timing(first, {moment: seconds[moment] / visits[moment] for moment in visits}, run.age)

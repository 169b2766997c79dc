"""What can happen to a run. Each fault is a context manager: entering it disturbs the run, its body lasts until the
run has ended, and leaving it repairs what a user would repair before the next start."""

import os
import random
import resource
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tools.gpu_check.runs import TrainingRun
from tools.soak.runs import process_of, start_command
from tools.soak.trial import Trial
from workers.checkpoint import list_checkpoints

DISK_BYTES = 64 * 2**20
FILE_BYTES = 2**16  # less than a checkpoint's weights, more than a line of metrics
SECOND_SIGNAL = 2.0  # the longest wait for it, in seconds
REFUSED = 2  # the exit code of a run that did not start


class Surprise(RuntimeError):  # noqa: N818 - reads as a state
    """The run ended differently than documented."""


def victim(run: TrainingRun, trial: Trial) -> psutil.Process:
    """The trial's process; raises psutil.NoSuchProcess if it has ended."""
    process = process_of(run, trial.target)
    if process is None:
        raise psutil.NoSuchProcess(0, trial.target)
    return process


@contextmanager
def killed(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """SIGKILL, as by the kernel when memory is exhausted."""
    victim(run, trial).kill()
    yield


@contextmanager
def stopped(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """SIGSTOP, and SIGCONT only after the run has ended by its time-out."""
    process = victim(run, trial)
    process.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


@contextmanager
def out_of_memory(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The process may use no more address space than it does now (RLIMIT_AS)."""
    process = victim(run, trial)
    _, hard = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, hard))
    yield


@contextmanager
def full_disk(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """A file takes all space on the disk of outputs/. Where no disk could be mounted, neither the driver nor the actor
    can write files of more than FILE_BYTES (RLIMIT_FSIZE)."""
    outputs = run.folder.path.parent
    if not outputs.is_mount():
        for process in filter(None, (process_of(run, name) for name in ("driver", "actor"))):
            _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
            process.rlimit(psutil.RLIMIT_FSIZE, (FILE_BYTES, hard))
        yield
        return
    filler = outputs / "filler"
    fill(filler)
    try:
        yield
    finally:
        filler.unlink()


def fill(path: Path) -> None:
    """Write a file until its disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(resource.getpagesize()))


@contextmanager
def read_only_outputs(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """A mount that cannot be written covers outputs/; without root rights, its files and folders become read-only."""
    outputs = run.folder.path.parent
    if os.geteuid() == 0:
        subprocess.run(["mount", "--bind", outputs, outputs], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", outputs], check=True)
            yield
        finally:
            subprocess.run(["umount", "--lazy", outputs], check=True)
        return
    set_writable(outputs, False)
    try:
        yield
    finally:
        set_writable(outputs, True)


def set_writable(folder: Path, writable: bool) -> None:
    """Grant or deny the owner's right to write to a folder and to all that is in it."""
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False
        if mounted:
            subprocess.run(["umount", folder], check=True)
        return mounted


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of DISK_BYTES at `folder`, if this process may mount one."""
    folder.mkdir()
    if not can_mount():
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def flipped_bit(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The run is killed, and a bit of its newest checkpoint is not what was written."""
    end(run)
    draw = random.Random(trial.fraction)
    path = file_of_a_checkpoint(run, draw)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    yield


@contextmanager
def truncated_file(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The run is killed, and the end of a file of its newest checkpoint is missing."""
    end(run)
    draw = random.Random(trial.fraction)
    path = file_of_a_checkpoint(run, draw)
    os.truncate(path, draw.randrange(path.stat().st_size))
    yield


@contextmanager
def missing_file(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The run is killed, and a file of its newest checkpoint is missing."""
    end(run)
    file_of_a_checkpoint(run, random.Random(trial.fraction)).unlink()
    yield


def end(run: TrainingRun) -> None:
    run.process.kill()
    run.process.wait()


def file_of_a_checkpoint(run: TrainingRun, draw: random.Random) -> Path:
    """A file of the newest checkpoint that is not empty."""
    newest = list_checkpoints(run.folder.checkpoints)[-1]
    return draw.choice(sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size))


@contextmanager
def started_twice(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The same command is started while the run is in progress. One of the two must be refused, unless the run was
    finished by then.

    Raises:
        TimeoutExpired: the second one does not end.
    """
    second = start_command(run.process.args, run.folder.path.parent.parent, "second")
    yield
    second.process.wait(trial.limit_s)
    refused = [each for each in (run, second) if each.process.returncode == REFUSED and "is in use by" in each.output]
    if not refused and "this run is finished" not in second.output:
        codes = f"{run.process.returncode} and {second.process.returncode}"
        raise Surprise(f"two starts in the same folder ended with the codes {codes}, and neither was refused")


@contextmanager
def sigterm_twice(run: TrainingRun, trial: Trial) -> Iterator[None]:
    """The first signal asks the run to stop with a checkpoint, the second one to stop at once."""
    run.process.terminate()
    time.sleep(trial.fraction * SECOND_SIGNAL)
    run.process.terminate()
    yield

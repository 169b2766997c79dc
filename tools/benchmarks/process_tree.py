"""Run a command and measure all of its processes. Reads /proc, so it works on Linux only."""

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from run.files import read_rows
from workers.shared_memory import SHARED_MEMORY

POLL_SECONDS = 0.1
MEMORY_SECONDS = 1.0
END_SECONDS = 60.0


@dataclass(frozen=True)
class Observed:
    """
    rows         the rows of the command's file, one per step
    cpu_seconds  user and system time of all processes when each row appeared, since their start
    peak_bytes   largest anonymous memory of all processes, and of /dev/shm, which is looked at once a second
    """

    rows: list[dict[str, Any]]
    cpu_seconds: list[float]
    peak_bytes: int


def observe(command: Sequence[str], steps: Path, cwd: Path, environment: Mapping[str, str], log: Path) -> Observed:
    """Run the command until it ends, while it appends a row per step to the file `steps` (JSON lines). It is ended with
    this process, by Ctrl-C or SIGTERM.

    Raises:
        RuntimeError: it failed; the message has the end of its log.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shared_before = shutil.disk_usage(SHARED_MEMORY).used
    cpu_seconds, peak, looked = list[float](), 0, 0.0
    with log.open("w", encoding="utf-8") as file:
        process = psutil.Popen(command, cwd=cwd, env=dict(environment), stdout=file, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                appeared = _count_lines(steps) - len(cpu_seconds)
                if appeared > 0:
                    cpu_seconds += [cpu_of(process)] * appeared
                if time.monotonic() - looked >= MEMORY_SECONDS:
                    looked = time.monotonic()
                    peak = max(peak, memory_of(process) + shutil.disk_usage(SHARED_MEMORY).used - shared_before)
                time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(END_SECONDS)
    if process.returncode:
        end = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
        raise RuntimeError(f"{' '.join(command[:6])} ... exited with code {process.returncode}:\n{end}")
    rows = list(read_rows(steps))
    return Observed(rows[: len(cpu_seconds)], cpu_seconds, peak)


def cpu_of(process: psutil.Process) -> float:
    """User and system seconds of a process and all of its descendants, those that have ended included."""
    total = 0.0
    for one in _tree(process):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_of(process: psutil.Process) -> int:
    """Bytes of anonymous memory of a process and all of its descendants. Pages of files do not count, because the
    kernel can drop them, nor does shared memory: /dev/shm holds it, whether it is mapped or not.

    The kernel keeps this count. The proportional set size would be exact after a fork, but to compute it the kernel
    walks all pages of a process, which stops the process from allocating memory in the meantime.
    """
    total = 0
    for one in _tree(process):
        try:
            lines = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
    return total


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0

"""Waiting for other processes, never without end: who is asked, for how long, and what to say when nothing comes."""

import faulthandler
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from workers.interrupt import Interrupt

POLL = 0.2
DUMP_SECONDS = 20.0


class WorkerTimeout(RuntimeError):  # noqa: N818 - a state, said by its name
    """A process gave no answer in time; the message says which, in what phase, and where each one was."""


class WorkerDied(RuntimeError):  # noqa: N818
    """A process of the actor or the reference is gone, with a part of the model."""


@dataclass(frozen=True)
class Worker:
    """A process of a role. folder: where it said its process number and will write its stack (`announce`)."""

    role: str
    rank: int
    handle: Any
    place: Any
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.role} rank {self.rank}"

    def ask(self, method: str, *args: Any) -> "Pending":
        return Pending(self, getattr(self.handle, method).remote(*args))


@dataclass(frozen=True)
class Pending:
    """An answer that a worker owes."""

    worker: Worker
    ref: Any


@dataclass
class Clock:
    """Seconds spent waiting for each phase since it was last read, and how long a wait may last."""

    interrupt: Interrupt
    timeout_s: float
    seconds: dict[str, float] = field(default_factory=dict)

    def wait(self, phase: str, pending: Sequence[Pending], interruptible: bool = False) -> list[Any]:
        """The answers in order; an interruptible wait ends early, by `Interrupted`, when the user asks the run
        to stop.

        Raises:
            WorkerTimeout: one is still missing after `timeout_s` seconds.
            WorkerDied: a process is gone; also where the others failed because of it.
        """
        started = time.monotonic()
        owed = {one.ref: one.worker for one in pending}
        while owed:
            ready, _ = ray.wait(list(owed), num_returns=1, timeout=POLL)
            if interruptible:
                self.interrupt.check()
            for ref in ready:
                worker = owed.pop(ref)
                _raise_death(worker, ref, owed)
            if owed and time.monotonic() - started > self.timeout_s:
                raise worker_timeout(phase, list(owed.values()), time.monotonic() - started)
        self._count(phase, started)
        return [ray.get(one.ref) for one in pending]

    def first_ready(self, phase: str, streams: dict[Any, Worker]) -> Any:
        """The first of Ray's streams that has an item or has ended; interruptible.

        Raises:
            WorkerTimeout: none had for `timeout_s` seconds.
        """
        started = time.monotonic()
        while not (ready := ray.wait(list(streams), timeout=POLL)[0]):
            self.interrupt.check()
            if time.monotonic() - started > self.timeout_s:
                raise worker_timeout(phase, list(streams.values()), time.monotonic() - started)
        self._count(phase, started)
        return ready[0]

    def read(self) -> dict[str, float]:
        seconds, self.seconds = self.seconds, {}
        return seconds

    def _count(self, phase: str, started: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started


def _raise_death(worker: Worker, ref: Any, others: dict[Any, Worker]) -> None:
    """Let an error out. When a process dies, those that wait for it in a collective may fail first."""
    try:
        ray.get(ref)
    except RayActorError as error:
        raise WorkerDied(f"{worker.name} died: {_first_line(error)}") from error
    except Exception:
        for other in ray.wait(list(others), num_returns=len(others), timeout=5.0)[0] if others else []:
            try:
                ray.get(other)
            except RayActorError as error:
                raise WorkerDied(f"{others[other].name} died: {_first_line(error)}") from error
            except Exception:  # noqa: BLE001 - it failed as the first one did, which is raised below
                continue
        raise


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def announce(folder: Path, role: str, rank: int) -> TextIO:
    """For a worker's first line: say the process number, and write the stacks of all threads when SIGUSR1 asks
    for them. The open file must be kept."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = (folder / f"{role}-{rank}.stack").open("w", encoding="utf-8")
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=True)
    (folder / f"{role}-{rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
    return stack


def worker_timeout(phase: str, workers: Sequence[Worker], seconds: float) -> WorkerTimeout:
    """The error, with the stacks of those that owe an answer; they are killed."""
    names = ", ".join(dict.fromkeys(worker.name for worker in workers))
    said = [f"phase {phase}: no answer from {names} in {seconds:.0f} s (topology.timeout_s)"]
    asked = {(worker.role, worker.rank): worker for worker in workers}
    for worker in asked.values():
        said.append(f"--- {worker.name}\n{_stack_of(worker)}")
    return WorkerTimeout("\n".join(said))


def _stack_of(worker: Worker) -> str:
    task = ray.remote(num_cpus=0, scheduling_strategy=worker.place)(dump_and_kill)
    try:
        return ray.get(task.remote(worker.folder, worker.role, worker.rank), timeout=DUMP_SECONDS)
    except GetTimeoutError:
        return "its node gave no answer either"


def dump_and_kill(folder: Path, role: str, rank: int) -> str:
    """On the worker's own node: where it is, then its end; it does nothing useful any more."""
    said = folder / f"{role}-{rank}.pid"
    if not said.is_file():
        return "it had not started yet"
    process = int(said.read_text(encoding="utf-8"))
    stack = folder / f"{role}-{rank}.stack"
    try:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1.0)
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return "it is gone"
    return stack.read_text(encoding="utf-8") or "it is stopped and wrote no stack"

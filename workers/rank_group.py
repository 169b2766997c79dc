"""Calls to worker processes. Every wait ends with an answer, a time-out that shows the stack, or a WorkerDied."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError

from run.files import DamagedFile
from workers.interrupt import Interrupt
from workers.stacks import dump_and_kill

DEATHS = (RayActorError, OutOfMemoryError)  # the latter if Ray killed it because memory ran out
POLL_SECONDS = 0.2
DUMP_SECONDS = 20.0


class WorkerTimeout(RuntimeError):  # noqa: N818 - reads as a state
    """A worker did not answer in time; the message names the phase and the worker, with its stack."""


class WorkerDied(RuntimeError):  # noqa: N818 - reads as a state
    """A worker process is gone."""


class WorkerFailed(RuntimeError):  # noqa: N818 - reads as a state
    """A worker could not start or ran out of memory, which would happen again."""


@dataclass(frozen=True)
class RankInfo:
    """The role, rank and device of a worker process.

    address  "host:port" where the ranks of a model meet; "" for a single rank
    folder   the run's folder in shared memory, None outside a run
    """

    role: str = "actor"
    rank: int = 0
    size: int = 1
    address: str = ""
    device: str = "cpu"
    folder: Path | None = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0


ALONE = RankInfo()  # a single process, outside of a run


@dataclass(frozen=True)
class Worker:
    """A Ray actor. `scheduling` is its Ray scheduling strategy."""

    info: RankInfo
    handle: Any
    scheduling: Any

    @property
    def name(self) -> str:
        return f"{self.info.role} rank {self.info.rank}"


@dataclass
class PhaseTimer:
    """Seconds that the driver waited in each phase since the last `read`."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, since: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - since

    def read(self) -> dict[str, float]:
        seconds, self.seconds = self.seconds, {}
        return seconds


@dataclass
class RankGroup:
    """The workers of one role, called together.

    timeout_s  how long a call may take
    interrupt  ends interruptible waits when the user stops the run
    """

    workers: list[Worker]
    timer: PhaseTimer
    interrupt: Interrupt
    timeout_s: float

    def call(
        self,
        method: str,
        *args: Any,
        phase: str,
        interruptible: bool = False,
        on_death: Callable[[Worker], None] | None = None,
    ) -> Any:
        """Call `method` on every rank and return the first rank's answer when all have answered.

        on_death  is called with each worker that died, instead of raising WorkerDied

        Raises:
            WorkerTimeout: a rank did not answer within `timeout_s`.
            WorkerDied: a rank is gone, even if the others failed first because of that.
            WorkerFailed: a rank could not start.
            Interrupted: the user stopped the run during an interruptible wait.
        """
        shared = [ray.put(arg) for arg in args]  # once, not once per rank
        missing = {getattr(worker.handle, method).remote(*shared): worker for worker in self.workers}
        first, answers, started = next(iter(missing)), dict[Any, Any](), time.monotonic()
        while missing:
            ready, _ = ray.wait(list(missing), num_returns=1, timeout=POLL_SECONDS)
            if interruptible:
                self.interrupt.check()
            for ref in ready:
                worker = missing.pop(ref)
                try:
                    answers[ref] = answer_of(ref, worker, missing)
                except WorkerDied:
                    if on_death is None:
                        raise
                    on_death(worker)
            self._check_time(missing, phase, started)
        self.timer.add(phase, since=started)
        return answers.get(first)

    def next_stream(self, streams: Mapping[Any, Worker], phase: str) -> Any:
        """The first of Ray's streaming generators that has an item or has ended. Interruptible; raises WorkerTimeout if
        nothing arrives within `timeout_s`."""
        started, ready = time.monotonic(), list[Any]()
        while not ready:
            self.interrupt.check()  # also if there is always an item
            self._check_time(streams, phase, started)
            ready, _ = ray.wait(list(streams), timeout=POLL_SECONDS)
        self.timer.add(phase, since=started)
        return ready[0]

    def _check_time(self, missing: Mapping[Any, Worker], phase: str, started: float) -> None:
        waited = time.monotonic() - started
        if missing and waited > self.timeout_s:
            raise worker_timeout(phase, list(missing.values()), waited)


def answer_of(ref: Any, worker: Worker, others: Mapping[Any, Worker]) -> Any:
    """The answer of a finished call; raises its error if it failed. When a worker dies, those that wait for it in a
    collective may fail before Ray notices the death, so a failure is attributed to a death that shows within 5 s."""
    try:
        return ray.get(ref)
    except DEATHS as error:
        raise death_of(worker, error) from error
    except Exception as error:
        cause = getattr(error, "cause", None)  # the worker's own error; the message of Ray's is a traceback
        if isinstance(cause, DamagedFile):
            raise cause from error
        if isinstance(cause, torch.OutOfMemoryError):
            setting = "rollout.max_num_seqs" if worker.info.role == "rollout" else "algorithm.micro_batch_tokens"
            raise WorkerFailed(
                f"{worker.name} ran out of GPU memory ({str(cause).strip().splitlines()[0]}); lower {setting}, or see "
                "docs/gpu.md, section 'When memory runs out'"
            ) from error
        for other in ray.wait(list(others), num_returns=len(others), timeout=5.0)[0] if others else []:
            try:
                ray.get(other)
            except DEATHS as error:
                raise death_of(others[other], error) from error
            except Exception:  # noqa: BLE001 - it failed like the first one, which is raised below
                continue
        raise


def death_of(worker: Worker, error: Exception) -> WorkerDied | WorkerFailed:
    if getattr(error, "actor_init_failed", False):  # the last line is that of its exception
        return WorkerFailed(f"{worker.name} could not start: {str(error).strip().splitlines()[-1]}")
    return WorkerDied(f"{worker.name} died: {' '.join(str(error).split())[:300]}")


def worker_timeout(phase: str, workers: Sequence[Worker], seconds: float) -> WorkerTimeout:
    """The error for workers that did not answer, with their stacks. The workers are killed."""
    distinct = {worker.name: worker for worker in workers}
    lines = [f"phase {phase}: no answer from {', '.join(distinct)} in {seconds:.0f} s (topology.timeout_s)"]
    lines += [f"--- {name}\n{_stack_of(worker)}" for name, worker in distinct.items()]
    return WorkerTimeout("\n".join(lines))


def _stack_of(worker: Worker) -> str:
    task = ray.remote(num_cpus=0, scheduling_strategy=worker.scheduling)(dump_and_kill)
    try:
        return ray.get(task.remote(worker.info), timeout=DUMP_SECONDS)
    except GetTimeoutError:
        return "its node does not answer either"

"""Run the stages of a pipeline, each as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rich.console import Console

from conf.launch import checking_settings
from pipelines.ledger import Ledger, StageState
from pipelines.page import write_report

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StageProcess:
    """The process of the running stage.

    The first signal asks it to stop, on which it writes its checkpoint or its rows; the second one kills it."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.requests = 0

    def run(self, command: Sequence[str]) -> int:
        """Run an entry point with these arguments and return its exit code."""
        entry_point, *arguments = command
        # A session of its own keeps Ctrl-C away from it, which it would take for the second signal.
        self.child = subprocess.Popen(
            [sys.executable, str(ROOT / entry_point), *arguments], stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self.requests:  # a signal arrived while it started
            self.child.terminate()
        code = self.child.wait()
        if code:
            self._kill()  # processes that a crash leaves behind would occupy memory
        return code

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Treat Ctrl-C, SIGTERM and a closed terminal as a request to stop."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.requests += 1
        if self.child is None or self.child.returncode is not None:
            return
        if self.requests == 1:
            self.child.terminate()
            os.write(2, b"\nstopping once the running stage has saved its work; press Ctrl-C again to kill it\n")
        else:
            self._kill()

    def _kill(self) -> None:
        assert self.child is not None
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)


def check_started(ledger: Ledger) -> None:
    """
    Raises:
        ValueError: a stage has started with another command or other inputs than it would have now.
    """
    for name in ledger.pipeline.stages:
        if ledger.state(name) is not StageState.NOT_STARTED and ledger.is_ready(name):
            ledger.check(name)


def run_pipeline(ledger: Ledger, console: Console) -> None:
    """Run all stages that have not finished, and write the report after each.

    Raises:
        SystemExit: a stage was refused, or has failed.
    """
    stages, process = ledger.pipeline.stages, StageProcess()
    with process.listening():
        for number, name in enumerate(stages, 1):
            if process.requests:
                break
            run_stage(ledger, name, process, console, f"[{number}/{len(stages)}] {name}:")
    if process.requests and not all(map(ledger.is_finished, stages)):
        console.print("stopped; the same command resumes the pipeline")
    with checking_settings():
        console.print(f"report: {write_report(ledger)}", markup=False, soft_wrap=True)


def run_stage(ledger: Ledger, name: str, process: StageProcess, console: Console, title: str) -> None:
    """Run a stage unless it has finished."""
    was_finished = ledger.is_finished(name)
    with checking_settings():
        record = ledger.check(name)
    if was_finished:
        console.print(f"{title} finished before", markup=False)
        return
    console.print(f"{title} {' '.join(record.command)}", markup=False, highlight=False, soft_wrap=True)
    ledger.write()
    started = time.monotonic()
    code = process.run(record.command)
    record.seconds += time.monotonic() - started
    ledger.write()
    with checking_settings():
        write_report(ledger)
    if not process.requests and (code or not ledger.is_finished(name)):
        why = f"failed with exit code {code}" if code else "ended before its last step"
        raise SystemExit(f"error: stages.{name} {why}, see its output above; the same command resumes there")

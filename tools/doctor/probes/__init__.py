"""Looking at the machine. Each probe returns facts, or raises one of FAILURES; none changes anything."""

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

import psutil

from tools.doctor.facts import Unknown

T = TypeVar("T")
FAILURES = (OSError, ValueError, LookupError, ImportError, subprocess.SubprocessError, psutil.Error, TimeoutError)


def known(probe: Callable[[], T]) -> T | Unknown:
    """What the probe finds, or why it can't."""
    try:
        return probe()
    except FAILURES as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Unknown(said, isinstance(error, TimeoutError))


def within(seconds: float, probe: Callable[[], T]) -> T:
    """The probe, in a thread that is left to itself when it takes longer: a name that does not resolve
    can't be interrupted.

    Raises:
        TimeoutError: it took longer.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(probe())
        except FAILURES as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from error


def output_of(command: Sequence[str], seconds: float, folder: Path | None = None) -> str:
    """What a command prints, started in `folder`.

    Raises:
        OSError: there is no such command, or it failed; with its last words.
        TimeoutError: it took longer.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd=folder)
    except FileNotFoundError as error:
        raise OSError(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0].rpartition('/')[2]} gave no answer within {seconds:.0f} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
        raise OSError(f"{command[0].rpartition('/')[2]} failed: {last}")
    return done.stdout

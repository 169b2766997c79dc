"""Helpers to look at the machine without changing it: probes return facts or raise one of FAILURES."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

import psutil

from tools.doctor.facts import Unknown

T = TypeVar("T")
FAILURES = (OSError, ValueError, LookupError, ImportError, subprocess.SubprocessError, psutil.Error, TimeoutError)


def known(probe: Callable[[], T]) -> T | Unknown:
    """The probe's result, or why it failed."""
    try:
        return probe()
    except FAILURES as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Unknown(reason, isinstance(error, TimeoutError))


def within(seconds: float, probe: Callable[[], T]) -> T:
    """Run the probe in a thread, which is abandoned after a time-out: a pending DNS lookup cannot be interrupted.

    Raises:
        TimeoutError: the probe took longer than `seconds`.
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


def output_of(
    command: Sequence[str], seconds: float, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command in `folder`, by default with the environment of this process, and return its standard output.

    Raises:
        OSError: the command does not exist, or it failed; the message has the last line of its output.
        TimeoutError: the command took longer than `seconds`.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, cwd=folder, env=environment
        )
    except FileNotFoundError as error:
        raise OSError(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{command[0].rpartition('/')[2]} gave no answer within {seconds:.0f} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise OSError(f"{command[0].rpartition('/')[2]} failed: {last}")
    return done.stdout

"""The stack of a worker that does not answer: its process announces itself in the run's folder, where another process
on its node finds it."""

import faulthandler
import os
import signal
import time
from typing import TYPE_CHECKING, TextIO

from workers.shared_memory import reuse_freed_memory

if TYPE_CHECKING:
    from workers.rank_group import RankInfo


def announce(info: "RankInfo") -> TextIO | None:
    """The first call in a worker process: record its process number, and write the stacks of all threads on SIGUSR1.
    The returned file must stay open."""
    if info.folder is None:
        return None
    if info.device == "cpu":
        reuse_freed_memory()
    info.folder.mkdir(parents=True, exist_ok=True)
    stack = (info.folder / f"{info.role}-{info.rank}.stack").open("w", encoding="utf-8")
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=True)
    (info.folder / f"{info.role}-{info.rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
    return stack


def dump_and_kill(info: "RankInfo") -> str:
    """Runs on the worker's own node: return the worker's stack and kill it."""
    assert info.folder is not None
    announced = info.folder / f"{info.role}-{info.rank}.pid"
    if not announced.is_file():
        return "it has not started yet"
    process = int(announced.read_text(encoding="utf-8"))
    try:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1.0)
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return "its process is gone"
    stack = (info.folder / f"{info.role}-{info.rank}.stack").read_text(encoding="utf-8")
    return stack or "it is stopped and wrote no stack"

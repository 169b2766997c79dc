"""What ended runs left behind: processes, shared memory, and ports on which something listens."""

import ctypes
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import psutil

from workers.shared_memory import SHARED_MEMORY, shared_folder

PR_SET_CHILD_SUBREAPER = 36  # of prctl
EXIT_SECONDS = 90.0  # Ray's agents first try to tell a GCS that is gone about the death of their raylet


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent dies, so that `descendants` finds them (Linux only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants() -> list[psutil.Process]:
    """The processes that this one started, directly or not, and that have not ended."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def collect_orphans() -> None:
    """Collect adopted processes that have ended, as init does. Until then Ray's workers stay,
    because they take the raylet for alive. Processes that this one has started lead a session and are left alone, since
    their exit codes are needed."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ProcessLookupError, ChildProcessError):
            if child.status() == psutil.STATUS_ZOMBIE and os.getsid(child.pid) != child.pid:
                os.waitpid(child.pid, os.WNOHANG)


def listening_ports() -> set[int]:
    """The TCP ports on which descendants listen."""
    found = set()
    for child in descendants():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found |= {each.laddr.port for each in child.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return found


def shared_memory() -> set[str]:
    """The names in /dev/shm, except the folders of runs, which other runs create too."""
    names = {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()
    return {name for name in names if not name.startswith("ahazero-")}


def left_behind(outputs: Path, memory_before: set[str], ports: set[int]) -> list[str]:
    """What is left EXIT_SECONDS after the end of a run; its processes are killed and its folder is removed.

    outputs        the run's folder
    memory_before  `shared_memory` before the run
    ports          those on which the run's processes have listened
    """
    end, found = time.monotonic() + EXIT_SECONDS, [""]
    while found and time.monotonic() < end:
        time.sleep(0.1)
        collect_orphans()
        found = leftovers(outputs, memory_before, ports)
    kill_descendants()
    shutil.rmtree(shared_folder(outputs), ignore_errors=True)
    return found


def leftovers(outputs: Path, memory_before: set[str], ports: set[int]) -> list[str]:
    found = []
    for process in descendants():
        with suppress(psutil.NoSuchProcess):
            program, *arguments = process.cmdline() or [process.name()]
            found.append(f"process {process.pid} ({' '.join([Path(program).name, *arguments])[:60]}) is left")
    unused = sorted(name for name in shared_memory() - memory_before if not is_mapped(name))
    found += [f"/dev/shm/{name} is left" for name in unused]
    if (folder := shared_folder(outputs)).exists():
        found.append(f"{folder} is left")
    open_ports = {each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return found + [f"port {port} is open" for port in sorted(ports & open_ports)]


def is_mapped(name: str) -> bool:
    """Whether a process has this file of /dev/shm in its memory. What is left behind is in no memory, unlike what other
    programs create there."""
    needle = f" {SHARED_MEMORY / name}\n".encode()
    for process in psutil.process_iter():
        with suppress(OSError):
            if needle in Path("/proc", str(process.pid), "maps").read_bytes():
                return True
    return False


def kill_descendants() -> None:
    """End all processes that this one started, and collect those that have ended."""
    while alive := descendants():
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=1.0)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass

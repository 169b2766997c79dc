"""Memory, disk and limits of the host, and what dead runs left there."""

import os
import platform
import re
import resource
import shutil
import socket
from pathlib import Path

import psutil

from tools.doctor.facts import Cpu, Leftovers, Memory, Port, Space

GB = 2**30
SHARED_MEMORY = Path("/dev/shm")  # with WEIGHTS as in workers/weight_sync.py, which a test holds together
WEIGHTS = "ahazero-*"
CGROUP = Path("/sys/fs/cgroup")
RAY = ("raylet", "gcs_server")
LOOPBACK = "127.0.0.1"


def cpu() -> Cpu:
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    return Cpu(platform.machine(), cores, frozenset(flags[1].split() if flags else ()))


def memory() -> Memory:
    host = psutil.virtual_memory()
    limit, used = cgroup_memory(CGROUP)
    available = host.available if limit is None else min(host.available, limit - used)
    return Memory(host.total / GB, available / GB, None if limit is None else limit / GB)


def cgroup_memory(root: Path) -> tuple[int | None, int]:
    """(limit, used) in bytes, of version 2 or 1 of cgroups; no limit, or one above any memory, is None. What
    files hold in the page cache is not used: it is given back."""
    for limit_file, used_file, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _read(root / limit_file)
        if not limit.isdigit() or int(limit) >= 2**60:
            continue
        stat = _read((root / used_file).parent / "memory.stat")
        given_back = re.search(rf"^{cached} (\d+)$", stat, re.MULTILINE)
        return int(limit), int(_read(root / used_file) or 0) - (int(given_back[1]) if given_back else 0)
    return None, 0


def space(folder: Path) -> Space:
    """Of a folder that may not be there yet: of the nearest one above it that is."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(there)
    return Space(str(folder), usage.total / GB, usage.free / GB, os.access(there, os.W_OK))


def open_files() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**62 if soft == resource.RLIM_INFINITY else soft


def leftovers() -> Leftovers:
    """A Ray that a run started has a Python above it; that of a run that died, and of `ray start`, has not."""
    ray, a_run_goes_on = [], False
    for process in psutil.process_iter(["name", "cmdline"]):
        a_run_goes_on |= any(part.endswith("train_grpo.py") for part in process.info["cmdline"] or ())
        if process.info["name"] in RAY and not any("python" in name for name in _names_above(process)):
            ray.append(process.pid)
    return Leftovers(tuple(ray), tuple(str(path) for path in sorted(SHARED_MEMORY.glob(WEIGHTS))), a_run_goes_on)


def rendezvous() -> Port:
    """The port at which processes of torch.distributed on this machine meet."""
    number = int(os.environ.get("MASTER_PORT", "29500"))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, number))
        except OSError:
            return Port(number, in_use=True)
    return Port(number, in_use=False)


def _names_above(process: psutil.Process) -> list[str]:
    try:
        return [Path(parent.exe()).name for parent in process.parents() if parent.pid != 1]
    except psutil.Error:  # it ended, or belongs to another user
        return []


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

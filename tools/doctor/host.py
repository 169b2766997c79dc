"""The host: memory, disk, limits, and what crashed runs left behind."""

import os
import platform
import re
import shutil
from pathlib import Path

import psutil

from run.lock import is_locked
from tools.doctor.facts import Cpu, DiskSpace, HostMemory, Leftovers, Requirements
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from workers.machine import Obstacle, open_files_obstacle
from workers.shared_memory import MORE, PREFIX, SHARED_MEMORY

GB = 2**30
CGROUP = Path("/sys/fs/cgroup")
RAY = ("raylet", "gcs_server")
FEW_OPEN_FILES = 4096  # below this limit Ray warns: its workers and connections hold dozens of files each
OBJECT_STORE_GB = 1.0  # of shared memory for Ray's object store
SPARE_DISK_GB = 2.0  # for metrics, samples, a report and wandb's files


def cpu() -> Cpu:
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    return Cpu(platform.machine(), cores, frozenset(flags[1].split() if flags else ()))


def memory() -> HostMemory:
    host = psutil.virtual_memory()
    limit, used = cgroup_memory(CGROUP)
    available = host.available if limit is None else min(host.available, limit - used)
    return HostMemory(host.total / GB, available / GB, None if limit is None else limit / GB)


def cgroup_memory(root: Path) -> tuple[int | None, int]:
    """(limit, used) in bytes, for cgroups version 2 or 1. A missing or unrealistically large limit is None. The page
    cache does not count as used, since the kernel reclaims it."""
    for limit_file, used_file, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _read(root / limit_file)
        if not limit.isdigit() or int(limit) >= 2**60:
            continue
        stat = _read((root / used_file).parent / "memory.stat")
        reclaimable = re.search(rf"^{cached} (\d+)$", stat, re.MULTILINE)
        return int(limit), int(_read(root / used_file) or 0) - (int(reclaimable[1]) if reclaimable else 0)
    return None, 0


def space(folder: Path) -> DiskSpace:
    """Space for a folder. If it does not exist yet, its nearest existing parent counts."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(existing)
    return DiskSpace(str(folder), usage.total / GB, usage.free / GB, os.access(existing, os.W_OK))


def leftovers() -> Leftovers:
    """Ray processes that a live run started have a Python process among their parents; those of a crashed run, and of
    `ray start`, do not. A live run locks its folder in shared memory. Processes and folders of other users are
    theirs."""
    ray = [each.pid for each in psutil.process_iter(["name"]) if each.info["name"] in RAY and _is_orphan(each)]
    folders = sorted(SHARED_MEMORY.glob(f"{PREFIX}*"))
    left = [folder for folder in folders if not is_locked(folder)]
    return Leftovers(tuple(ray), tuple(map(str, left)), run_in_progress=len(left) < len(folders))


def judge_cpu(cpu: Cpu, dtype: str) -> Finding:
    """Check which of vLLM's CPU kernels this CPU supports."""
    saw = f"{cpu.cores} cores"
    if cpu.machine != "x86_64":
        return Finding(OK, f"{saw}, {cpu.machine}")
    if "avx2" not in cpu.flags:
        return Finding(ERROR, f"{saw} without AVX2, which vLLM's kernels need", "rollout.backend=transformers")
    vectors = "AVX512" if "avx512f" in cpu.flags else "AVX2"
    if dtype == "bfloat16" and "avx512f" not in cpu.flags:
        return Finding(WARNING, f"{saw}, {vectors}: bfloat16 is ten times slower than float32", "model.dtype=float32")
    if cpu.flags & {"avx512_bf16", "amx_bf16"}:
        return Finding(OK, f"{saw}, {vectors}, with bfloat16 at up to twice the speed of float32")
    return Finding(OK, f"{saw}, {vectors}")


def judge_memory(memory: HostMemory, needed: Requirements) -> Finding:
    total = f"the container's {memory.limit_gb:.1f}" if memory.limit_gb else f"{memory.total_gb:.1f}"
    saw = f"{memory.available_gb:.1f} of {total} GB available, about {needed.host:.1f} needed"
    if memory.available_gb < needed.host:
        do = "stop other processes (ps aux --sort=-rss | head), rent more memory, or lower rollout.kv_cache_gb on a CPU"
        return Finding(ERROR if memory.available_gb < 0.7 * needed.host else WARNING, saw, do)
    return Finding(OK, saw)


def judge_shared_memory(space: DiskSpace, needed: Requirements) -> Finding:
    """Weights are transferred through shared memory, and Ray keeps its object store there (otherwise in /tmp, which is
    slow)."""
    wanted = needed.shared_memory + OBJECT_STORE_GB
    saw = f"{space.free_gb:.1f} of {space.total_gb:.1f} GB free in {space.folder}"
    do = MORE.format(gb=max(4.0, 2 * wanted))
    if space.free_gb < needed.shared_memory or not space.writable:
        why = f"the weights take {needed.shared_memory:.1f}" if space.writable else "not writable"
        return Finding(ERROR, f"{saw}, {why}", do)
    if space.free_gb < wanted:
        return Finding(WARNING, f"{saw}; Ray will put its objects into /tmp", do)
    return Finding(OK, f"{saw}, {wanted:.1f} needed")


def judge_outputs(space: DiskSpace, needed: Requirements, keep: int) -> Finding:
    wanted = needed.checkpoints + SPARE_DISK_GB
    saw = f"{space.free_gb:.1f} GB free, about {wanted:.1f} needed for {keep} checkpoints and the one being written"
    if not space.writable:
        return Finding(ERROR, f"{space.folder} is not writable", f"ls -ld {space.folder}")
    if space.free_gb < wanted:
        return Finding(ERROR, saw, "checkpoint.keep=1, or link outputs to a larger disk: ln -s /data/outputs outputs")
    return Finding(OK, saw)


def judge_open_files(limit: int) -> Finding:
    if obstacle := open_files_obstacle(limit):
        return judge_obstacle(obstacle)
    if limit < FEW_OPEN_FILES:
        return Finding(WARNING, f"{limit}", "ulimit -Hn 65536 as root, or docker run --ulimit nofile=65536")
    return Finding(OK, "no limit" if limit > 2**31 else f"{limit}")


def judge_leftovers(leftovers: Leftovers, joins_cluster: bool) -> Finding:
    saw, do = [], []
    if leftovers.ray_pids and not joins_cluster:
        pids = " ".join(map(str, leftovers.ray_pids))
        saw.append(f"Ray processes without a run ({pids})")
        do.append(f"kill {pids}, unless they belong to a cluster of yours")
    if leftovers.folders:
        saw.append(f"weights in {', '.join(leftovers.folders)}")
        do.append(f"rm -r {' '.join(leftovers.folders)}")
    if saw:
        return Finding(WARNING, f"left by crashed runs: {'; '.join(saw)}", "; ".join(do))
    return Finding(
        OK, "another run is in progress here" if leftovers.run_in_progress else "nothing left by earlier runs"
    )


def judge_obstacle(obstacle: Obstacle | None) -> Finding:
    """What would keep Ray from starting, or change how it starts."""
    return Finding(OK, "as Ray needs it") if obstacle is None else Finding(ERROR, obstacle.saw, obstacle.do)


def _is_run(process: psutil.Process) -> bool:
    """Whether a process of this user has a file open in the shared memory of a run, as the lock of its folder."""
    try:
        return any(file.path.startswith(str(SHARED_MEMORY / PREFIX)) for file in process.open_files())
    except psutil.AccessDenied:
        return False


def _is_orphan(process: psutil.Process) -> bool:
    """Whether no Python process started it. Process 1 is Python in some containers, but only rarely a run."""
    try:
        parents = process.parents()
        return not any(
            "python" in Path(parent.exe()).name if parent.pid != 1 else _is_run(parent) for parent in parents
        )
    except psutil.Error:  # the process ended, or belongs to another user
        return False


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

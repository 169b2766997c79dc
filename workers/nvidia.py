"""The GPUs of this machine as nvidia-smi reports them. PyTorch would have to allocate memory on a GPU to inspect
it, and does not name the processes that hold the rest."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SECONDS = 10.0
GPU_FIELDS = "index,uuid,driver_version,memory.total,memory.free,compute_cap,name"
HOLDER_FIELDS = "gpu_uuid,pid,used_memory,process_name"
CSV = "--format=csv,noheader,nounits"


@dataclass(frozen=True)
class Holder:
    """A process that holds GPU memory. gb: None if the driver does not report it."""

    pid: int
    name: str
    gb: float | None

    def __str__(self) -> str:
        return f"{self.name} ({self.pid}){'' if self.gb is None else f' {self.gb:.1f} GB'}"


@dataclass(frozen=True)
class InstalledGpu:
    index: int
    name: str
    total_gb: float
    free_gb: float
    capability: tuple[int, int]
    holders: tuple[Holder, ...] = ()
    uuid: str = ""


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver, the newest CUDA version that it supports, and the installed GPUs."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[InstalledGpu, ...]


def driver() -> Driver:
    """
    Raises:
        OSError: there is no nvidia-smi, or it failed; with its own words.
        ValueError: its output has an unknown format, or it lists no GPU.
    """
    gpus = nvidia_smi(f"--query-gpu={GPU_FIELDS}", CSV)
    holders = nvidia_smi(f"--query-compute-apps={HOLDER_FIELDS}", CSV)
    return read_driver(nvidia_smi(), gpus, holders)


def visible_gpus() -> list[InstalledGpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by index or by the start of their UUID, in the order in which a run
    uses them; all if it is not set. Empty if nvidia-smi cannot tell."""
    try:
        gpus = driver().gpus
    except (OSError, ValueError):
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return list(gpus)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    return [gpu for name in wanted for gpu in gpus if _is_named(gpu, name)]


def nvidia_smi(*arguments: str) -> str:
    """The output of nvidia-smi; raises the OSErrors of `driver`."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except FileNotFoundError as error:
        raise FileNotFoundError("there is no nvidia-smi here") from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"nvidia-smi gave no answer within {SECONDS:.0f} s") from error
    if done.returncode != 0:
        message = " ".join((done.stderr.strip() or done.stdout.strip() or "no output").split())
        raise OSError(f"nvidia-smi failed: {message}")
    return done.stdout


def read_driver(banner: str, gpus: str, holders: str) -> Driver:
    """Parse three outputs of nvidia-smi: the plain one, and its queries of GPUs and of processes.

    Raises:
        ValueError: one of them has an unknown format.
    """
    cuda = re.search(r"CUDA (?:UMD )?Version: *(\d+)\.(\d+)", banner)
    rows = [_cells(line, GPU_FIELDS) for line in gpus.splitlines() if line.count(",") >= GPU_FIELDS.count(",")]
    if cuda is None or not rows:
        raise ValueError("nvidia-smi names no CUDA version" if rows else "nvidia-smi lists no GPU")
    by_gpu = _holders(holders)
    return Driver(rows[0]["driver_version"], (int(cuda[1]), int(cuda[2])), tuple(_gpu(row, by_gpu) for row in rows))


def _is_named(gpu: InstalledGpu, name: str) -> bool:
    return int(name) == gpu.index if name.isdigit() else gpu.uuid.startswith(name)


def _gpu(row: Mapping[str, str], holders: Mapping[str, Sequence[Holder]]) -> InstalledGpu:
    major, minor = row["compute_cap"].split(".")
    total, free = _gb(row["memory.total"]), _gb(row["memory.free"])
    if total is None or free is None:
        raise ValueError(f"nvidia-smi does not report the memory of {row['name']}")
    uuid = row["uuid"]
    held = tuple(holders.get(uuid, ()))
    return InstalledGpu(int(row["index"]), row["name"], total, free, (int(major), int(minor)), held, uuid)


def _holders(text: str) -> dict[str, list[Holder]]:
    found: dict[str, list[Holder]] = {}
    for row in (_cells(line, HOLDER_FIELDS) for line in text.splitlines() if line.count(",") >= 3):
        name = row["process_name"].rpartition("/")[2]
        found.setdefault(row["gpu_uuid"], []).append(Holder(int(row["pid"]), name, _gb(row["used_memory"])))
    return found


def _cells(line: str, fields: str) -> dict[str, str]:
    """Split a CSV line. The last field may contain commas."""
    names = fields.split(",")
    return dict(zip(names, (cell.strip() for cell in line.split(",", len(names) - 1)), strict=True))


def _gb(mib: str) -> float | None:
    """Convert MiB to GB; None for "[N/A]" and "[Insufficient Permissions]"."""
    return int(mib) / 1024 if mib.isdigit() else None

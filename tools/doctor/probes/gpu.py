"""The driver and the GPUs, from nvidia-smi."""

import re
from collections.abc import Mapping, Sequence

from tools.doctor.facts import Driver, Gpu, Holder
from tools.doctor.probes import output_of

SECONDS = 10.0
GPU_FIELDS = "index,uuid,driver_version,memory.total,memory.free,compute_cap,name"
HOLDER_FIELDS = "gpu_uuid,pid,used_memory,process_name"
CSV = "--format=csv,noheader,nounits"


def driver() -> Driver:
    gpus = output_of(["nvidia-smi", f"--query-gpu={GPU_FIELDS}", CSV], SECONDS)
    holders = output_of(["nvidia-smi", f"--query-compute-apps={HOLDER_FIELDS}", CSV], SECONDS)
    return read_driver(output_of(["nvidia-smi"], SECONDS), gpus, holders)


def peers() -> tuple[str, ...]:
    return read_peers(output_of(["nvidia-smi", "topo", "-p2p", "r"], SECONDS))


def read_driver(banner: str, gpus: str, holders: str) -> Driver:
    """From the three outputs of nvidia-smi: its plain one, and its queries of GPUs and of processes.

    Raises:
        ValueError: one of them is not in the known form.
    """
    cuda = re.search(r"CUDA (?:UMD )?Version: *(\d+)\.(\d+)", banner)
    rows = [_cells(line, GPU_FIELDS) for line in gpus.splitlines() if line.strip()]
    if cuda is None or not rows:
        raise ValueError("nvidia-smi names no CUDA version" if rows else "nvidia-smi lists no GPU")
    by_gpu = _holders(holders)
    return Driver(rows[0]["driver_version"], (int(cuda[1]), int(cuda[2])), tuple(_gpu(row, by_gpu) for row in rows))


def read_peers(matrix: str) -> tuple[str, ...]:
    """The pairs that are not OK in the matrix of `nvidia-smi topo -p2p r`, each once, with what it says."""
    rows = [line.split() for line in matrix.splitlines() if re.match(r"\s*GPU\d+\s+(X|[A-Z]+)\s", line + " ")]
    table = [row[1:] for row in rows if "X" in row]
    return tuple(
        f"GPU{first}-GPU{second} {table[first][second]}"
        for first in range(len(table))
        for second in range(first + 1, len(table))
        if table[first][second] != "OK"
    )


def _gpu(row: Mapping[str, str], holders: Mapping[str, Sequence[Holder]]) -> Gpu:
    major, minor = row["compute_cap"].split(".")
    total, free = _gb(row["memory.total"]), _gb(row["memory.free"])
    if total is None or free is None:
        raise ValueError(f"nvidia-smi does not say the memory of {row['name']}")
    held = tuple(holders.get(row["uuid"], ()))
    return Gpu(int(row["index"]), row["name"], total, free, (int(major), int(minor)), held)


def _holders(text: str) -> dict[str, list[Holder]]:
    found: dict[str, list[Holder]] = {}
    for row in (_cells(line, HOLDER_FIELDS) for line in text.splitlines() if line.count(",") >= 3):
        name = row["process_name"].rpartition("/")[2]
        found.setdefault(row["gpu_uuid"], []).append(Holder(int(row["pid"]), name, _gb(row["used_memory"])))
    return found


def _cells(line: str, fields: str) -> dict[str, str]:
    """The last field may hold commas itself."""
    names = fields.split(",")
    return dict(zip(names, (cell.strip() for cell in line.split(",", len(names) - 1)), strict=True))


def _gb(mib: str) -> float | None:
    """MiB as GB; None for "[N/A]" and "[Insufficient Permissions]"."""
    return int(mib) / 1024 if mib.isdigit() else None

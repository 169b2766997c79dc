"""The NVIDIA driver and the GPUs: what nvidia-smi reports, and whether the run can use them."""

import re
from collections.abc import Mapping, Sequence

from conf.sft import TrainingConfig
from tools.doctor.facts import Driver, Holder, InstalledGpu, Requirements, Torch
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.probe import output_of
from workers.placement import check_ranks, make_placement

SECONDS = 10.0
GPU_FIELDS = "index,uuid,driver_version,memory.total,memory.free,compute_cap,name"
HOLDER_FIELDS = "gpu_uuid,pid,used_memory,process_name"
CSV = "--format=csv,noheader,nounits"
# The oldest driver for a major version of CUDA (NVIDIA, "CUDA Compatibility", minor version compatibility).
OLDEST_DRIVER = {12: 525, 13: 580}
BFLOAT16 = (8, 0)  # the lowest compute capability on which vLLM supports bfloat16
LARGE_GB = 6.0  # training state above which a CPU is too slow to be useful: 0.4B parameters
BUSY_GB = 1.0  # used memory that the driver and a display explain


def driver() -> Driver:
    gpus = output_of(["nvidia-smi", f"--query-gpu={GPU_FIELDS}", CSV], SECONDS)
    holders = output_of(["nvidia-smi", f"--query-compute-apps={HOLDER_FIELDS}", CSV], SECONDS)
    return read_driver(output_of(["nvidia-smi"], SECONDS), gpus, holders)


def peers() -> tuple[str, ...]:
    return read_peers(output_of(["nvidia-smi", "topo", "-p2p", "r"], SECONDS))


def read_driver(banner: str, gpus: str, holders: str) -> Driver:
    """Parse three outputs of nvidia-smi: the plain one, and its queries of GPUs and of processes.

    Raises:
        ValueError: one of them has an unknown format.
    """
    cuda = re.search(r"CUDA (?:UMD )?Version: *(\d+)\.(\d+)", banner)
    rows = [_cells(line, GPU_FIELDS) for line in gpus.splitlines() if line.strip()]
    if cuda is None or not rows:
        raise ValueError("nvidia-smi names no CUDA version" if rows else "nvidia-smi lists no GPU")
    by_gpu = _holders(holders)
    return Driver(rows[0]["driver_version"], (int(cuda[1]), int(cuda[2])), tuple(_gpu(row, by_gpu) for row in rows))


def read_peers(matrix: str) -> tuple[str, ...]:
    """Pairs of GPUs that are not OK in the matrix of `nvidia-smi topo -p2p r`, each once, as in "GPU0-GPU1 CNS"."""
    rows = [line.split() for line in matrix.splitlines() if re.match(r"\s*GPU\d+\s+(X|[A-Z]+)\s", line + " ")]
    table = [row[1:] for row in rows if "X" in row]
    return tuple(
        f"GPU{first}-GPU{second} {table[first][second]}"
        for first in range(len(table))
        for second in range(first + 1, len(table))
        if table[first][second] != "OK"
    )


def judge_driver(driver: Driver, torch: Torch) -> Finding:
    """Compare the CUDA version of the driver with the one that torch and vLLM were built for."""
    saw = f"{driver.version}, CUDA up to {_dotted(driver.cuda)}"
    if torch.cuda is None:
        return Finding(OK, saw)
    built = _numbers(torch.cuda)
    if driver.cuda[0] < built[0]:
        oldest = OLDEST_DRIVER.get(built[0])
        do = f"install driver {oldest} or newer" if oldest else f"install a driver for CUDA {torch.cuda}"
        return Finding(ERROR, f"{saw}; torch is built for CUDA {torch.cuda}", f"{do}, or rent a machine that has one")
    if driver.cuda < built:
        return Finding(
            WARNING,
            f"{saw}; torch is built for CUDA {torch.cuda}: it runs, but kernels compiled at run time may be rejected",
            f"install a driver for CUDA {torch.cuda}",
        )
    return Finding(OK, f"{saw}; torch is built for {torch.cuda}")


def judge_architecture(gpu: InstalledGpu, torch: Torch, dtype: str) -> Finding:
    """Check that torch has kernels for the GPU. A binary runs on GPUs of the same major and at least the same minor
    version; "compute_" code runs on all newer GPUs."""
    saw = f"{gpu.name}, compute capability {_dotted(gpu.capability)}"
    if dtype == "bfloat16" and gpu.capability < BFLOAT16:
        return Finding(ERROR, f"{saw}: no bfloat16", "rent an Ampere GPU or newer (A10, A100, L4, RTX 30xx and up)")
    if not torch.architectures:
        return Finding(OK, saw)
    for kind, digits in (architecture.split("_", 1) for architecture in torch.architectures):
        version = re.sub(r"\D", "", digits)
        built = (int(version[:-1]), int(version[-1]))
        if built <= gpu.capability and (kind == "compute" or built[0] == gpu.capability[0]):
            return Finding(OK, f"{saw}, torch has kernels for it")
    return Finding(
        ERROR,
        f"{saw}: this torch is built for {', '.join(torch.architectures)}",
        "rent a newer GPU, or install a torch build for this one",
    )


def judge_gpu_memory(gpu: InstalledGpu, vllm_gb: float) -> Finding:
    """Check what other processes hold, and whether vLLM, which checks free memory at its start, gets its share."""
    saw = f"{gpu.free_gb:.1f} of {gpu.total_gb:.1f} GB free"
    held = ", ".join(f"{h.name} ({h.pid}){'' if h.gb is None else f' {h.gb:.1f} GB'}" for h in gpu.holders)
    by = f", held by {held}" if held else ""
    do = f"nvidia-smi -i {gpu.index}; kill {' '.join(str(h.pid) for h in gpu.holders) or 'the process that holds it'}"
    if gpu.free_gb < vllm_gb:
        return Finding(ERROR, f"{saw}{by}; vLLM takes {vllm_gb:.1f} GB at its start", do)
    if gpu.holders or gpu.total_gb - gpu.free_gb > BUSY_GB:
        return Finding(WARNING, f"{saw}{by or ', held by a process that is not visible here'}", do)
    return Finding(OK, saw)


def judge_topology(cfg: TrainingConfig, num_gpus: int) -> Finding:
    """Check that the topology can divide the GPUs of this machine, as the run itself does at its start."""
    if cfg.topology.ray_address is not None:
        return Finding(OK, f"{cfg.topology.name}, on the GPUs of a cluster")
    try:
        placement = make_placement(cfg.topology, cfg.rollout, num_gpus)
        check_ranks(cfg.topology, cfg.algorithm, cfg.rows_per_update, placement)
    except ValueError as error:
        return Finding(ERROR, str(error), "make plan prints a topology that fits")
    ranks, replicas = len(placement.actor), len(placement.rollout)
    return Finding(OK, f"{cfg.topology.name}: {ranks} actor ranks, {replicas} rollout replicas")


def judge_fit(needed: Requirements) -> Finding:
    """Check whether the run fits on each GPU as configured, by the memory model of `make plan`."""
    if needed.problem is not None:
        do = "make plan prints settings that fit; smaller: algorithm.micro_batch_tokens, rollout.gpu_memory_utilization"
        return Finding(ERROR, f"does not fit: {needed.problem}", do)
    phases = f"training {needed.training:.1f}, generating {needed.generating:.1f}"
    return Finding(OK, f"GiB per GPU: {phases} of {needed.usable:.1f} (calculated)")


def judge_no_gpu(why: str, cfg: TrainingConfig, needed: Requirements) -> Finding:
    """why: the reason why there is no GPU."""
    if cfg.topology.device == "cuda":
        return Finding(ERROR, f"{why}; topology.device=cuda", "rent a GPU, or set topology=cpu")
    if needed.training_state > LARGE_GB:
        state = f"{needed.training_state:.0f} GB of weights, gradients and optimizer state"
        saw = f"{why}; training {cfg.model.name} ({state}) would take months on a CPU"
        return Finding(ERROR, saw, "rent a GPU (docs/gpu.md), or MODEL=tiny")
    return Finding(OK, f"{why}; the run uses the CPU")


def judge_peers(blocked: tuple[str, ...]) -> Finding:
    """blocked: pairs of GPUs without access to each other's memory, as in "GPU0-GPU1 CNS"."""
    if not blocked:
        return Finding(OK, "all GPUs can access each other's memory")
    return Finding(
        WARNING,
        f"no access between {', '.join(blocked)}: transfers go through the host",
        "this works, but slower; if NCCL hangs: export NCCL_P2P_DISABLE=1",
    )


def _gpu(row: Mapping[str, str], holders: Mapping[str, Sequence[Holder]]) -> InstalledGpu:
    major, minor = row["compute_cap"].split(".")
    total, free = _gb(row["memory.total"]), _gb(row["memory.free"])
    if total is None or free is None:
        raise ValueError(f"nvidia-smi does not report the memory of {row['name']}")
    held = tuple(holders.get(row["uuid"], ()))
    return InstalledGpu(int(row["index"]), row["name"], total, free, (int(major), int(minor)), held)


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


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

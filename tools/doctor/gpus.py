"""The NVIDIA driver and the GPUs: what nvidia-smi reports, and whether the run can use them."""

import re

from conf.sft import TrainingConfig
from tools.doctor.facts import Requirements, Torch
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from workers.nvidia import Driver, InstalledGpu, nvidia_smi
from workers.placement import check_ranks, make_placement

# The oldest driver for a major version of CUDA (NVIDIA, "CUDA Compatibility", minor version compatibility).
OLDEST_DRIVER = {12: 525, 13: 580}
WHEELS_CUDA = "13.0"  # of the wheels in tools/install/requirements.txt; a test compares them
BFLOAT16 = (8, 0)  # the lowest compute capability on which vLLM supports bfloat16
LARGE_GB = 6.0  # training state above which a CPU is too slow to be useful: 0.4B parameters
BUSY_GB = 1.0  # used memory that the driver and a display explain
# What nvidia-smi says if it is installed and there is no GPU to use, and what to do.
REPAIRS = {
    "No devices": "rent a machine with a GPU; in a container: docker run --gpus all",
    "couldn't communicate with the NVIDIA driver": "load or install the driver: sudo modprobe nvidia",
    "version mismatch": "reboot: the driver was updated while it was loaded",
    "Unknown Error": "start the container again, which has lost its GPU",
}


def peers() -> tuple[str, ...]:
    return read_peers(nvidia_smi("topo", "-p2p", "r"))


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
    """Compare the CUDA version of the driver with that of torch and vLLM: of the installed wheels, or of the locked
    ones as long as those for a CPU are installed."""
    saw = f"{driver.version}, CUDA up to {_dotted(driver.cuda)}"
    needed = torch.cuda or WHEELS_CUDA
    built = f"{'torch' if torch.cuda else 'the locked torch'} is built for CUDA {needed}"
    major = _numbers(needed)[0]
    if driver.cuda[0] < major:
        oldest = OLDEST_DRIVER.get(major)
        do = f"install driver {oldest} or newer" if oldest else f"install a driver for CUDA {needed}"
        return Finding(ERROR, f"{saw}; {built}", f"{do}, or rent a machine that has one")
    if driver.cuda < _numbers(needed):
        saw = f"{saw}; {built}: it runs, but kernels compiled at run time may be rejected"
        return Finding(WARNING, saw, f"install a driver for CUDA {needed}")
    return Finding(OK, f"{saw}; {built}")


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
    held = ", ".join(map(str, gpu.holders))
    by = f", held by {held}" if held else ""
    do = f"nvidia-smi -i {gpu.index}; kill {' '.join(str(h.pid) for h in gpu.holders) or 'the process that holds it'}"
    if gpu.free_gb < vllm_gb:
        return Finding(ERROR, f"{saw}{by}; vLLM needs {vllm_gb:.1f} GB at its start", do)
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
    """why: the reason why there is no GPU, which begins with "nvidia-smi" if that is installed but lists none."""
    is_broken = why.startswith("nvidia-smi")
    repair = next((do for message, do in REPAIRS.items() if message in why), REPAIRS["No devices"])
    if cfg.topology.device == "cuda":
        do = f"{repair if is_broken else 'rent a GPU'}, or set topology=cpu"
        return Finding(ERROR, f"{why}; topology.device=cuda", do)
    if needed.training_state > LARGE_GB:
        state = f"{needed.training_state:.0f} GB of weights, gradients and optimizer state"
        saw = f"{why}; training {cfg.model.name} ({state}) would take months on a CPU"
        return Finding(ERROR, saw, f"{repair if is_broken else 'rent a GPU (docs/gpu.md)'}, or MODEL=tiny")
    if is_broken:
        return Finding(WARNING, f"{why}; the run uses the CPU", repair)
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


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

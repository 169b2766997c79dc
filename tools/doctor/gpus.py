"""The driver, the GPUs and what is free on them."""

import re

from conf.schema import Config
from tools.doctor.facts import Driver, Gpu, Torch
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.needs import Needs, generation_gb

# The oldest driver for a major version of CUDA (NVIDIA, "CUDA Compatibility", minor version compatibility).
OLDEST_DRIVER = {12: 525, 13: 580}
BFLOAT16 = (8, 0)  # the compute capability from which vLLM computes in it
LARGE_GB = 6.0  # of a trained model that no CPU trains in a useful time: 0.4B parameters
BUSY_GB = 1.0  # of a GPU that nothing but the driver and a screen uses


def judge_driver(driver: Driver, torch: Torch) -> Finding:
    """The driver's CUDA against the one that torch, and vLLM beside it, were built for."""
    saw = f"{driver.version}, CUDA up to {_dotted(driver.cuda)}"
    if torch.cuda is None:
        return Finding(OK, saw)
    built = _numbers(torch.cuda)
    if driver.cuda[0] < built[0]:
        oldest = OLDEST_DRIVER.get(built[0])
        do = f"install driver {oldest} or newer" if oldest else f"install a driver for CUDA {torch.cuda}"
        return Finding(ERROR, f"{saw}; torch is for CUDA {torch.cuda}", f"{do}, or rent a machine that has it")
    if driver.cuda < built:
        return Finding(
            WARNING,
            f"{saw}; torch is for CUDA {torch.cuda}: it runs, but kernels compiled on the spot may be refused",
            f"a driver for CUDA {torch.cuda}",
        )
    return Finding(OK, f"{saw}; torch is for {torch.cuda}")


def judge_architecture(gpu: Gpu, torch: Torch, dtype: str) -> Finding:
    """Whether torch has kernels for the GPU: binaries serve their major version from their minor one on, and
    "compute_" code serves all that is newer."""
    saw = f"{gpu.name}, compute capability {_dotted(gpu.capability)}"
    if dtype == "bfloat16" and gpu.capability < BFLOAT16:
        return Finding(ERROR, f"{saw}: no bfloat16", "rent an Ampere GPU or newer (A10, A100, L4, RTX 30xx and up)")
    if not torch.architectures:
        return Finding(OK, saw)
    for kind, digits in (one.split("_", 1) for one in torch.architectures):
        version = re.sub(r"\D", "", digits)
        built = (int(version[:-1]), int(version[-1]))
        if built <= gpu.capability and (kind == "compute" or built[0] == gpu.capability[0]):
            return Finding(OK, f"{saw}, torch has kernels for it")
    return Finding(
        ERROR,
        f"{saw}: this torch is for {', '.join(torch.architectures)}",
        "rent a newer GPU, or install a torch that was built for it",
    )


def judge_gpu_memory(gpu: Gpu, cfg: Config, needs: Needs) -> Finding:
    """What others hold, and whether vLLM, which looks at its start, would find its share."""
    saw = f"{gpu.free_gb:.1f} of {gpu.total_gb:.1f} GB free"
    held = ", ".join(f"{h.name} ({h.pid}){'' if h.gb is None else f' {h.gb:.1f} GB'}" for h in gpu.holders)
    by = f", held by {held}" if held else ""
    do = f"nvidia-smi -i {gpu.index}; kill {' '.join(str(h.pid) for h in gpu.holders) or 'what holds it'}"
    if gpu.free_gb < (asked := generation_gb(cfg, needs, gpu.total_gb)):
        return Finding(ERROR, f"{saw}{by}; vLLM takes {asked:.1f} GB at its start", do)
    if gpu.holders or gpu.total_gb - gpu.free_gb > BUSY_GB:
        return Finding(WARNING, f"{saw}{by or ', held by a process that is not seen from here'}", do)
    return Finding(OK, saw)


def judge_fit(driver: Driver, cfg: Config, needs: Needs) -> Finding:
    """Whether weights, gradients, optimizer, reference and vLLM can fit at all, activations not counted. What
    is split over several GPUs is held against all of them together."""
    total = sum(gpu.total_gb for gpu in driver.gpus)
    generation = generation_gb(cfg, needs, driver.gpus[0].total_gb)
    needed = needs.trainer + needs.reference + generation
    parts = f"training {needs.trainer:.1f}, reference {needs.reference:.1f}, vLLM {generation:.1f}"
    saw = f"about {needed:.1f} of {total:.1f} GB before activations ({parts})"
    if needed > total:
        do = "algorithm.optimizer.name=adamw_8bit, model.lora.rank=16, or a lower rollout.gpu_memory_utilization"
        return Finding(ERROR, saw, do)
    return Finding(OK, saw)


def judge_no_gpu(why: str, cfg: Config, needs: Needs) -> Finding:
    """why: in what words there is none."""
    if cfg.topology.device == "cuda":
        return Finding(ERROR, f"{why}; topology.device=cuda", "rent a GPU, or give topology=cpu")
    if needs.trainer > LARGE_GB:
        saw = f"{why}; {cfg.model.name}, {needs.trainer:.0f} GB while it trains, would be for months on a CPU"
        return Finding(ERROR, saw, "rent a GPU (docs/gpu.md), or MODEL=tiny")
    return Finding(OK, f"{why}; the run takes the CPU")


def judge_peers(blocked: tuple[str, ...]) -> Finding:
    """blocked: the pairs without access to each other's memory, like "GPU0-GPU1 CNS"."""
    if not blocked:
        return Finding(OK, "all GPUs reach each other's memory")
    return Finding(
        WARNING,
        f"no access between {', '.join(blocked)}: what they exchange goes through the host",
        "slower, but works; if NCCL hangs: export NCCL_P2P_DISABLE=1",
    )


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

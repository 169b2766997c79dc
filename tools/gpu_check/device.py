"""The machine: what `make doctor` says, and the two rates that limit everything else."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tools.doctor.__main__ import examine
from tools.doctor.findings import ERROR, SKIPPED
from tools.doctor.gather import gather
from tools.gpu_check.stage import GIB, Measurement, Setup
from tools.planner.hardware import gpu_named

REPEATS = 20


def measure(setup: Setup) -> Iterator[Measurement]:
    yield from rates(setup)
    yield from doctor(setup)


def rates(setup: Setup) -> Iterator[Measurement]:
    """The rate of a large matrix product in bfloat16, and the bandwidths of copies on the device and to the host."""
    spec = gpu_named(setup.gpu) if setup.gpu else None
    size, count = (8192, 2**30) if setup.on_gpu else (256, 2**20)
    a, b = (torch.randn(size, size, device=setup.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = shortest(setup, lambda: a @ b)
    yield Measurement("matrix product", 2 * size**3 / seconds / 1e12, "TFLOP/s", spec and spec.tflops)
    source = torch.ones(count, device=setup.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = shortest(setup, lambda: target.copy_(source))
    yield Measurement(
        "copy on the device, read and written", 2 * count / seconds / 1e9, "GB/s", spec and spec.bandwidth_gbs
    )
    host = torch.empty(count, dtype=torch.uint8)
    pinned = torch.empty(count, dtype=torch.uint8, pin_memory=setup.on_gpu)
    for name, memory in (("", host), (" (pinned)", pinned)):
        planned = spec.host_gbs if spec and memory is pinned else None
        seconds = shortest(setup, lambda memory=memory: memory.copy_(source))
        yield Measurement(f"copy to the host{name}", count / seconds / 1e9, "GB/s", planned)
        seconds = shortest(setup, lambda memory=memory: source.copy_(memory))
        yield Measurement(f"copy from the host{name}", count / seconds / 1e9, "GB/s", planned)


def shortest(setup: Setup, function: Callable[[], Tensor]) -> float:
    """Seconds of the fastest of several calls."""
    return min(setup.timed(function)[1] for _ in range(REPEATS))


def doctor(setup: Setup) -> Iterator[Measurement]:
    """The doctor's findings. A check that is not possible here, such as that of the network, counts as passed."""
    cfg = setup.config()
    groups = examine(gather(cfg, []), cfg)
    for group, checked in groups.items():
        for name, finding in checked:
            if finding.level != SKIPPED and group != "network":
                yield Measurement(f"doctor: {name.strip()}", finding.saw, passed=finding.level != ERROR)
    if setup.on_gpu:
        free, total = torch.cuda.mem_get_info()
        yield Measurement("GPU memory in use", (total - free) / GIB, "GiB")

"""The machine: what `make doctor` says, and the two rates that limit everything else."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tools.doctor.__main__ import examine
from tools.doctor.findings import ERROR, SKIPPED
from tools.doctor.gather import gather
from tools.gpu_check.stage import GIB, Measurement, Setup
from tools.planner.hardware import gpu_named

REPEATS = 10


def measure(setup: Setup) -> Iterator[Measurement]:
    yield from rates(setup)
    yield from doctor(setup)


def rates(setup: Setup) -> Iterator[Measurement]:
    """The rate of a large matrix product in bfloat16, and the bandwidths of copies on the device and to the host."""
    spec = gpu_named(setup.gpu) if setup.gpu else None
    size, count = (8192, 2**28) if setup.on_gpu else (256, 2**20)
    a, b = (torch.randn(size, size, device=setup.device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * size**3 / shortest(setup, lambda: a @ b) / 1e12
    yield Measurement("matrix product", rate, "TFLOP/s", spec.tflops if spec else None)
    source = torch.ones(count, device=setup.device, dtype=torch.uint8)
    rate = 2 * copy_rate(setup, source, torch.empty_like(source))
    yield Measurement("copy on the device, read and written", rate, "GB/s", spec.bandwidth_gbs if spec else None)
    pageable = torch.ones(count, dtype=torch.uint8)
    yield Measurement("copy to the host", copy_rate(setup, source, pageable), "GB/s")
    yield Measurement("copy from the host", copy_rate(setup, pageable, source), "GB/s")
    if setup.on_gpu:
        pinned, planned = pageable.pin_memory(), spec.host_gbs if spec else None
        yield Measurement("copy to the host, pinned", copy_rate(setup, source, pinned), "GB/s", planned)
        yield Measurement("copy from the host, pinned", copy_rate(setup, pinned, source), "GB/s", planned)


def copy_rate(setup: Setup, source: Tensor, target: Tensor) -> float:
    """GB/s."""
    return source.nbytes / shortest(setup, lambda: target.copy_(source)) / 1e9


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

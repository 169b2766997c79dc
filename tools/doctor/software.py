"""Python, the installed packages, torch and vLLM.

torch and vLLM are imported in processes of their own, since a broken installation may end its process.
"""

import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tools.doctor.facts import Packages, Torch, Unknown
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.probe import output_of
from workers.nvidia import Driver

OLDEST, TOO_NEW = (3, 11), (3, 15)  # requires-python of pyproject.toml
MAX_NAMED = 3
REINSTALL = "rm .venv/ready-* && make setup"
TORCH = """
import json, torch
cuda = torch.cuda
print(json.dumps([torch.__version__, torch.version.cuda, cuda.get_arch_list(), cuda.device_count()]))
"""
# Part of what a run imports. On a GPU it includes the kernels, which fail with another version of torch or CUDA.
VLLM = """
import vllm
from vllm.platforms import current_platform
print(vllm.__version__, "for", current_platform.device_type)
"""
SECONDS = 60.0


def torch() -> Torch:
    version, cuda, architectures, devices = json.loads(_last_line(TORCH))
    return Torch(version, cuda, tuple(architectures), devices)


def vllm() -> str:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    return _last_line(VLLM)


def packages(lock: Path) -> Packages:
    """Compare the installed distributions with a lock file of name==version lines."""
    lines = re.findall(r"^[A-Za-z0-9][^#\\\n]*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    requirements = [Requirement(line.strip()) for line in lines]
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate()]
    wrong = [line for requirement in wanted if (line := _difference(requirement))]
    return Packages(lock.name, len(wanted), tuple(wrong))


def judge_python(version: tuple[int, int, int]) -> Finding:
    number = ".".join(map(str, version))
    if OLDEST <= version[:2] < TOO_NEW:
        return Finding(OK, number)
    return Finding(ERROR, f"{number}; 3.11 to 3.14 is required", "rm -rf .venv && make setup PYTHON=python3.11")


def judge_packages(packages: Packages) -> Finding:
    if not packages.wrong:
        return Finding(OK, f"{packages.count} packages match {packages.lock}")
    named = "; ".join(packages.wrong[:MAX_NAMED]) + ("; ..." if len(packages.wrong) > MAX_NAMED else "")
    saw = f"{len(packages.wrong)} of {packages.count} packages do not match {packages.lock}: {named}"
    return Finding(WARNING, saw, REINSTALL)


def judge_torch(torch: Torch | Unknown, driver: Driver | None, wanted: str) -> Finding:
    """wanted: topology.device; driver: None if there is no NVIDIA driver."""
    if isinstance(torch, Unknown):
        return _not_imported(torch)
    build = f"{torch.version}, " + (f"CUDA {torch.cuda}" if torch.cuda else "CPU build")
    has_gpus = driver is not None and len(driver.gpus) > 0
    if wanted == "cpu":
        return Finding(OK, f"{build}; topology.device=cpu")
    if torch.cuda is None and has_gpus:
        return Finding(
            ERROR, f"{build}, on a machine with a GPU", "rm -rf .venv && make setup, once nvidia-smi -L lists the GPU"
        )
    if torch.cuda is not None and not torch.devices:
        return Finding(
            ERROR,
            f"{build}, but torch sees no GPU" + (", although nvidia-smi lists some" if has_gpus else ""),
            "compare the driver below; echo $CUDA_VISIBLE_DEVICES; in a container: docker run --gpus all; without a "
            "GPU: topology=cpu",
        )
    if wanted == "cuda" and not torch.devices:
        return Finding(ERROR, f"{build}, but topology.device=cuda", "rent a GPU, or set topology=cpu")
    return Finding(OK, f"{build}, {torch.devices} GPUs" if torch.devices else f"{build}; no GPU")


def judge_vllm(vllm: str | Unknown, backend: str, on_gpu: bool) -> Finding:
    """vllm: version and device, as in "0.32.0 for cuda", or why the import failed."""
    if isinstance(vllm, str):
        if vllm.endswith("cuda") == on_gpu:
            return Finding(OK, vllm)
        return Finding(ERROR, f"{vllm}, but the run uses a {'GPU' if on_gpu else 'CPU'}", REINSTALL)
    if backend != "vllm":
        return Finding(WARNING, f"cannot be imported, but rollout.backend={backend} does not need it: {vllm.why}")
    return _not_imported(vllm)


def _difference(requirement: Requirement) -> str:
    locked = str(requirement.specifier).removeprefix("==")
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing, locked {locked}"
    return "" if found == locked else f"{requirement.name} {found}, locked {locked}"


def _last_line(script: str) -> str:
    """The last line that the script prints; libraries may print others while they are imported."""
    return output_of([sys.executable, "-c", script], SECONDS).strip().splitlines()[-1]


def _not_imported(library: Unknown) -> Finding:
    if library.timed_out:
        return Finding(WARNING, library.why, "the machine or its disk is busy; try again")
    return Finding(ERROR, f"cannot be imported: {library.why}", REINSTALL)

"""What is installed. torch and vLLM are imported in processes of their own: a broken one may not only raise."""

import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tools.doctor.facts import Packages, Torch
from tools.doctor.probes import output_of

TORCH = """
import json, torch
cuda = torch.cuda
print(json.dumps([torch.__version__, torch.version.cuda, cuda.get_arch_list(), cuda.device_count()]))
"""
# A part of what a run imports: on a GPU it has the kernels, which fail beside another torch or CUDA.
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
    """The installed distributions against a lock of name==version lines."""
    lines = re.findall(r"^[A-Za-z0-9][^#\\\n]*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    requirements = [Requirement(line.strip()) for line in lines]
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate()]
    wrong = [said for requirement in wanted if (said := _difference(requirement))]
    return Packages(lock.name, len(wanted), tuple(wrong))


def _difference(requirement: Requirement) -> str:
    locked = str(requirement.specifier).removeprefix("==")
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing, locked {locked}"
    return "" if found == locked else f"{requirement.name} {found}, locked {locked}"


def _last_line(script: str) -> str:
    """Libraries print while they are imported; the script's own line comes last."""
    return output_of([sys.executable, "-c", script], SECONDS).strip().splitlines()[-1]

"""An nvidia-smi in front of the PATH, with the output of a driver and its GPUs."""

import os
from pathlib import Path

BANNER = "| NVIDIA-SMI {driver}      Driver Version: {driver}      CUDA Version: {cuda}     |"
GPUS = """\
0, GPU-5a1c9e2e-0a3f-7c46-9f7e-6f6b8a0a5f10, {driver}, 24564, {free}, 8.9, {name}
1, GPU-77b0f1de-30a2-1f95-8c17-2a1b3c4d5e6f, {driver}, 24564, 24210, 8.9, {name}
"""
HOLDER = "GPU-5a1c9e2e-0a3f-7c46-9f7e-6f6b8a0a5f10, 4242, 20480, /opt/venv/bin/python3"
ANSWERS = """\
#!/bin/sh
case "$1" in
  --query-gpu=*) cat <<'END'
{gpus}END
  ;;
  --query-compute-apps=*) cat <<'END'
{holders}
END
  ;;
  *) cat <<'END'
{banner}
END
esac
"""


def install(folder: Path, script: str) -> str:
    """Write nvidia-smi into a folder and return the PATH with it."""
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(script)
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def two_gpus(
    driver: str = "580.95.05",
    cuda: str = "13.0",
    free: int = 24210,
    holders: str = "",
    name: str = "NVIDIA GeForce RTX 4090",
) -> str:
    """The script for two GPUs. free: MiB of the first one; holders: the processes on it."""
    gpus = GPUS.format(driver=driver, free=free, name=name)
    return ANSWERS.format(gpus=gpus, holders=holders, banner=BANNER.format(driver=driver, cuda=cuda))


def saying(words: str, code: int) -> str:
    """The script of an nvidia-smi that answers everything with these words and this exit code."""
    return f'#!/bin/sh\necho "{words}"\nexit {code}\n'

"""The memory of a run: its folder in shared memory, and what its processes keep. This module imports neither torch nor
Ray, because the doctor uses it."""

import ctypes
import hashlib
import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "ahazero-"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)
MORE = "sudo mount -o remount,size={gb:.0f}G /dev/shm; in a container: docker run --shm-size={gb:.0f}g"


def shared_folder(output: Path) -> Path:
    """The folder in shared memory of the process that writes `output`."""
    return shared_root() / f"{PREFIX}{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:12]}"


def shared_root() -> Path:
    """The folder of all runs; the temporary folder if the system has no shared memory."""
    return SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))


def reuse_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensors instead of returning it to the system, which would hand it back
    page by page: a million page faults in each update of a 135M model, a fifth of its time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # other C libraries keep memory by their own rules
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)

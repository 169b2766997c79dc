"""The folders of runs in shared memory. Without imports of torch and Ray, since the doctor uses them."""

import hashlib
import os
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "ahazero-"
MORE = "sudo mount -o remount,size={gb:.0f}G /dev/shm; in a container: docker run --shm-size={gb:.0f}g"


def shared_folder(output: Path) -> Path:
    """The folder in shared memory of the process that writes `output`."""
    return shared_root() / f"{PREFIX}{hashlib.sha256(str(output.resolve()).encode()).hexdigest()[:12]}"


def shared_root() -> Path:
    """The folder of all runs; the temporary folder if the system has no shared memory."""
    return SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))

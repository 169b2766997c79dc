"""How much memory a run holds."""

import psutil


def resident_gb() -> float:
    """Resident memory of this process and all that it started, in GiB; what they share counts for each."""
    this = psutil.Process()
    total = 0
    for process in (this, *this.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended since it was listed
            continue
    return total / 2**30

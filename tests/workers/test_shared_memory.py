import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from workers.shared_memory import reuse_freed_memory
{setting}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**27)
    libc.memset(block, 1, 2**27)
    libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt belongs to glibc")
@pytest.mark.parametrize(("setting", "least", "most"), [("", 30_000, 40_000), ("reuse_freed_memory()", 0, 100)])
def test_freed_memory_is_used_again_without_page_faults(setting, least, most):
    command = [sys.executable, "-c", PROGRAM.format(setting=setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most  # 128 MB are 32,768 pages

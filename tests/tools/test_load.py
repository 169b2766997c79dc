"""Time and memory grow in proportion to the size of a run."""

import subprocess
import sys

import pytest

from tools.load import MEASUREMENTS, Usage, compare

SMALL = {"samples": (4_000, 16_000), "scoring": (40, 160)}


def test_what_is_out_of_proportion_is_named():
    assert compare("x", (10, 100), (Usage(1.0, 20.0), Usage(10.0, 200.0))) == []
    assert compare("x", (10, 100), (Usage(1.0, 20.0), Usage(100.0, 200.0))) == [
        "x: the time grew by 100.0 for 10.0 times the size"
    ]
    assert compare("x", (10, 100), (Usage(1.0, 20.0), Usage(10.0, 2000.0))) == [
        "x: the memory grew by 100.0 for 10.0 times the size"
    ]
    assert compare("x", (10, 100), (Usage(1.0, 0.0), Usage(10.0, 40.0))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_time_and_memory_are_in_proportion(name):
    sizes = SMALL.get(name, (1_000, 4_000))
    command = [sys.executable, "-m", "tools.load", name, "--sizes", *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in proportion" in done.stdout

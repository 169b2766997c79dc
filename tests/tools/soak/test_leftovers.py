"""What ended runs left behind. Each test runs in a process of its own, whose descendants are all of the soak."""

import subprocess
import sys
from pathlib import Path

from workers.shared_memory import SHARED_MEMORY

PRELUDE = """
import subprocess, sys, time
from pathlib import Path
from tools.soak import leftovers
leftovers.EXIT_SECONDS = 0.5
leftovers.adopt_orphans()
outputs, before = Path(sys.argv[1]), leftovers.shared_memory()
def orphan(program):
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {program!r}])"
    subprocess.run([sys.executable, "-c", code], check=True)
    time.sleep(1)
"""


def left(program: str, folder: Path) -> str:
    """Run a program after the prelude and return what it prints."""
    command = [sys.executable, "-c", PRELUDE + program, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_nothing_is_left_of_a_process_that_has_ended(tmp_path):
    assert left("orphan('pass')\nprint(leftovers.left_behind(outputs, before, set()))", tmp_path) == "[]"


def test_an_orphan_is_found_and_killed(tmp_path):
    program = "orphan('import time; time.sleep(99)')\nprint(leftovers.left_behind(outputs, before, set()))\n"
    found = left(program + "print(leftovers.descendants())", tmp_path)
    assert "time.sleep(99)) is left" in found and found.endswith("[]")


def test_an_open_port_is_found(tmp_path):
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); time.sleep(99)"
    program = f"orphan({listen!r})\nports = leftovers.listening_ports()\n"
    found = left(program + "print(len(ports), leftovers.left_behind(outputs, before, ports))", tmp_path)
    assert found.startswith("1 [") and "is open" in found


def test_shared_memory_is_found(tmp_path):
    name = f"soak-{tmp_path.name}-{tmp_path.parent.name}"
    program = f"Path({str(SHARED_MEMORY / name)!r}).touch()\n"
    program += "from workers.shared_memory import shared_folder\nshared_folder(outputs).mkdir()\n"
    program += "print(leftovers.left_behind(outputs, before, set()))\nprint(shared_folder(outputs).exists())"
    try:
        found = left(program, tmp_path)
    finally:
        (SHARED_MEMORY / name).unlink(missing_ok=True)
    assert f"/dev/shm/{name} is left" in found and "ahazero-" in found and found.endswith("False")


def test_ended_orphans_are_collected_and_own_children_are_not(tmp_path):
    program = "orphan('pass')\nown = subprocess.Popen(['false'], start_new_session=True)\ntime.sleep(0.5)\n"
    program += "import psutil\nprint(len(psutil.Process().children()), end=' ')\nleftovers.collect_orphans()\n"
    assert left(program + "print(len(psutil.Process().children()), own.wait())", tmp_path) == "2 1 1"

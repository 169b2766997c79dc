"""Locks on folders, seen from another process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from run.lock import FolderInUse, lock

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import subprocess, sys, time
from pathlib import Path
from run.lock import lock
held = lock(Path(sys.argv[1]), "choose another name")
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that holds the lock of tmp_path, and the number of a child process of it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)


def test_a_second_process_is_refused_with_the_host_and_number_of_the_first(owner, tmp_path):
    with pytest.raises(FolderInUse) as error:
        lock(tmp_path, "choose another run=NAME")
    assert str(error.value) == (
        f"{tmp_path} is in use by {socket.gethostname()} pid {owner.pid}; wait until it ends, stop it, or choose "
        "another run=NAME"
    )
    lock(tmp_path, "", name=".other.lock").close()  # another name is another lock


def test_the_death_of_the_owner_releases_the_lock_even_if_its_child_lives_on(owner, tmp_path):
    owner.kill()
    owner.wait()
    with lock(tmp_path, ""):
        assert f"pid {os.getpid()}" in (tmp_path / ".lock").read_text()


TRAIN = [str(ROOT / "train_grpo.py"), f"model.path={ROOT / 'envs/countdown/models/tiny'}", "tracker=none"]
SFT = [str(ROOT / "train_sft.py"), f"model.path={ROOT / 'envs/countdown/models/tiny'}", "data.paths=[rows.jsonl]"]


@pytest.mark.parametrize("command", [TRAIN, SFT])
def test_a_second_start_in_a_run_folder_is_refused_in_one_line(command, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "make 3 from 1 2\\n<think>\\n", "completion": " 1 + 2"}\n' * 20)
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "outputs" / "twice")]
    holder = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        arguments = [sys.executable, *command, "run=twice"]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"outputs/twice is in use by {socket.gethostname()} pid {holder.pid};" in done.stderr
    assert os.listdir(tmp_path / "outputs" / "twice") == [".lock"]

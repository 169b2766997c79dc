"""The mechanism of each fault, on a plain process or folder."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from run.folder import RunFolder
from tools.gpu_check.runs import TrainingRun
from tools.soak import faults
from tools.soak.runs import process_of
from tools.soak.trial import Trial

NEEDS_MOUNT = pytest.mark.skipif(not faults.can_mount(), reason="may not mount")
SLEEP = "import time; print('ready', flush=True); time.sleep(60)"


def trial(fault, target="driver"):
    return Trial(0, fault, target, "update", 2, 0.3)


@pytest.fixture
def started(tmp_path):
    """Starts a Python program in place of train_grpo.py and waits until it has printed something."""
    processes = []

    def start(program: str) -> TrainingRun:
        log = tmp_path / "start_1.log"
        with log.open("w") as file:
            process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=file, stderr=file)
        processes.append(process)
        end = time.monotonic() + 30
        while not log.read_text() and time.monotonic() < end:
            time.sleep(0.01)
        return TrainingRun(process, RunFolder(tmp_path / "outputs" / "soak"), log, time.monotonic())

    yield start
    for process in processes:
        process.kill()
        process.wait()


def checkpoint(run: TrainingRun) -> dict[str, bytes]:
    """Write two checkpoints; return the files of the newer one."""
    for step in (1, 2):
        folder = run.folder.checkpoints / f"step_{step:06d}"
        folder.mkdir(parents=True)
        for name in ("a", "b", "empty"):
            (folder / name).write_bytes(b"" if name == "empty" else os.urandom(100))
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_process_is_killed(started):
    run = started(SLEEP)
    with faults.killed(run, trial(faults.killed)):
        assert run.process.wait(10) == -signal.SIGKILL


def test_a_process_that_has_ended_cannot_be_killed(started):
    run = started(SLEEP)
    with pytest.raises(psutil.NoSuchProcess), faults.killed(run, trial(faults.killed, "raylet")):
        pass


def test_a_process_is_stopped_until_the_run_has_ended(started):
    run = started(SLEEP)
    process = psutil.Process(run.process.pid)
    with faults.stopped(run, trial(faults.stopped)):
        time.sleep(0.1)
        assert process.status() == psutil.STATUS_STOPPED
    time.sleep(0.1)
    assert process.status() != psutil.STATUS_STOPPED


def test_a_process_cannot_allocate_memory(started):
    run = started(
        "import time\nprint('ready', flush=True)\nend, kept = time.time() + 30, []\n"
        "while time.time() < end:\n    time.sleep(0.01)\n    kept.append(bytearray(2**20))"
    )
    with faults.out_of_memory(run, trial(faults.out_of_memory)):
        assert run.process.wait(40) == 1
    assert "MemoryError" in run.output


def test_files_of_a_process_stay_small_where_no_disk_can_be_mounted(started, tmp_path):
    (tmp_path / "outputs").mkdir()
    run = started(
        "import time\nprint('ready', flush=True)\nend = time.time() + 30\n"
        "while time.time() < end:\n    time.sleep(0.01)\n    open('outputs/file', 'wb').write(bytes(10**6))"
    )
    with faults.full_disk(run, trial(faults.full_disk)):
        assert run.process.wait(40) == 1
    assert "File too large" in run.output


@NEEDS_MOUNT
def test_a_disk_is_full_until_the_run_has_ended(started, tmp_path):
    run, file = started(SLEEP), tmp_path / "outputs" / "file"
    with faults.small_disk(tmp_path / "outputs"):
        with faults.full_disk(run, trial(faults.full_disk)), pytest.raises(OSError, match="No space left"):
            file.write_bytes(bytes(10**6))
        file.write_bytes(bytes(10**6))
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0 and not faults.can_mount(), reason="root that may not mount")
def test_outputs_are_read_only_until_the_run_has_ended(started, tmp_path):
    run, file = started(SLEEP), tmp_path / "outputs" / "soak" / "metrics.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")
    with faults.read_only_outputs(run, trial(faults.read_only_outputs)):
        for path in (file, file.with_name("new")):
            with pytest.raises(OSError), path.open("a") as opened:
                opened.write("{}\n")
    file.write_text("written")
    assert file.read_text() == "written"


def test_permissions_are_taken_and_given_back(tmp_path):
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_text("")
    faults.set_writable(tmp_path / "folder", False)
    assert [path.stat().st_mode & 0o222 for path in (file.parent, file)] == [0, 0]
    faults.set_writable(tmp_path / "folder", True)
    assert [path.stat().st_mode & 0o200 for path in (file.parent, file)] == [0o200, 0o200]


def test_a_bit_of_the_newest_checkpoint_is_flipped(started):
    run = started(SLEEP)
    before = checkpoint(run)
    with faults.flipped_bit(run, trial(faults.flipped_bit)):
        assert run.process.returncode == -signal.SIGKILL
    after = contents(run.folder.checkpoints / "step_000002")
    [name] = [name for name in before if after[name] != before[name]]
    changed = int.from_bytes(before[name]) ^ int.from_bytes(after[name])
    assert changed.bit_count() == 1 and len(after[name]) == len(before[name])


def test_a_file_of_the_newest_checkpoint_is_truncated(started):
    run = started(SLEEP)
    before = checkpoint(run)
    with faults.truncated_file(run, trial(faults.truncated_file)):
        assert run.process.returncode == -signal.SIGKILL
    after = contents(run.folder.checkpoints / "step_000002")
    [name] = [name for name in before if after[name] != before[name]]
    assert len(after[name]) < len(before[name]) and before[name].startswith(after[name])


def test_a_file_of_the_newest_checkpoint_is_missing(started):
    run = started(SLEEP)
    before = checkpoint(run)
    with faults.missing_file(run, trial(faults.missing_file)):
        assert run.process.returncode == -signal.SIGKILL
    assert len(contents(run.folder.checkpoints / "step_000002")) == len(before) - 1


TWO_STARTS = """
import pathlib, sys, time
owner = pathlib.Path("owner")
if owner.exists():
    print(OUTPUT)
    sys.exit(CODE)
owner.touch()
print("ready", flush=True)
time.sleep(1)
"""


@pytest.mark.parametrize(
    ("output", "code"), [("outputs/soak is in use by host pid 7", 2), ("this run is finished; choose another", 0)]
)
def test_a_second_start_is_refused_or_finds_a_finished_run(started, output, code):
    run = started(TWO_STARTS.replace("OUTPUT", repr(output)).replace("CODE", str(code)))
    with faults.started_twice(run, trial(faults.started_twice, "")):
        assert run.process.wait(30) == 0


def test_a_second_start_that_is_not_refused_is_a_surprise(started):
    run = started(TWO_STARTS.replace("OUTPUT", "'training'").replace("CODE", "0"))
    with pytest.raises(faults.Surprise, match="codes 0 and 0"), faults.started_twice(run, trial(faults.started_twice)):
        run.process.wait(30)


def test_a_second_start_that_does_not_end_is_not_waited_for_longer_than_a_trial_may_take(started, monkeypatch):
    run, second = started("print('ready')"), started(SLEEP)
    monkeypatch.setattr(faults, "start_command", lambda *_: second)
    limited = replace(trial(faults.started_twice, ""), limit_s=0.2)
    with pytest.raises(subprocess.TimeoutExpired), faults.started_twice(run, limited):
        pass


def test_sigterm_is_sent_twice(started):
    run = started(
        "import signal, time\nseen = []\nsignal.signal(signal.SIGTERM, lambda *_: seen.append(1))\n"
        "print('ready', flush=True)\nend = time.time() + 30\n"
        "while len(seen) < 2 and time.time() < end:\n    time.sleep(0.01)\nprint(len(seen), 'signals')"
    )
    with faults.sigterm_twice(run, trial(faults.sigterm_twice, "")):
        assert run.process.wait(40) == 0
    assert "2 signals" in run.output


def test_processes_are_found_by_their_names(started, tmp_path):
    script = tmp_path / "gcs_server"
    script.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    script.chmod(0o755)
    run = started(
        "import subprocess, sys, time\n"
        f"children = [subprocess.Popen(['{script}']),"
        " subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', 'envs.grading'])]\n"
        "time.sleep(0.5); print([child.pid for child in children], flush=True)\n"
        "try:\n    time.sleep(60)\nfinally:\n    [child.kill() for child in children]"
    )
    found = [process_of(run, name) for name in ("gcs_server", "scorer")]
    try:
        assert str([process.pid for process in found if process]) == run.output.strip()
        assert process_of(run, "raylet") is None and process_of(run, "actor") is None
        assert process_of(run, "driver") == psutil.Process(run.process.pid)
    finally:
        for process in filter(None, found):
            process.kill()

"""Runs the doctor on this machine."""

import subprocess
import sys

import pytest

DOCTOR = [sys.executable, "-m", "tools.doctor", "tracker=none"]


def test_the_tiny_model_passes_on_this_machine_and_every_group_is_printed():
    done = subprocess.run(DOCTOR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    groups = [line for line in lines if not line.startswith(" ")][:-1]
    assert groups in (["software", device, "host", "network"] for device in ("CPU", "GPU"))
    assert max(map(len, lines)) <= 80 and done.stderr == ""
    assert lines[-1].startswith("tiny on countdown: errors 0")


@pytest.mark.slow
def test_an_error_sets_the_exit_code():
    nothing_listens = "topology.ray_address=127.0.0.1:9"
    done = subprocess.run([*DOCTOR, nothing_listens], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error   Ray" in done.stdout and "refused" in done.stdout


def test_an_invalid_setting_is_rejected_before_any_check():
    done = subprocess.run([*DOCTOR, "model=gpt"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: model=gpt: unknown")

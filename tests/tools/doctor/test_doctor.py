"""Runs the doctor on this machine."""

import os
import subprocess
import sys

import pytest

from tests.fake_nvidia_smi import HOLDER, install, saying, two_gpus

DOCTOR = [sys.executable, "-m", "tools.doctor", "tracker=none"]


def doctor(*overrides: str, path: str | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | ({"PATH": path} if path else {})
    return subprocess.run([*DOCTOR, *overrides], env=environment, capture_output=True, text=True, check=False)


def test_the_tiny_model_passes_on_this_machine_and_every_group_is_printed():
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    groups = [line for line in lines if not line.startswith(" ")][:-1]
    assert groups in (["software", device, "host", "network"] for device in ("CPU", "GPU"))
    assert max(map(len, lines)) <= 80 and done.stderr == ""
    assert lines[-1].startswith("tiny on countdown: errors 0")


def test_an_old_driver_and_a_busy_gpu_are_errors_that_name_the_versions_and_the_process(tmp_path):
    old = two_gpus("550.54.14", "12.4", free=4000, holders=HOLDER)
    done = doctor(path=install(tmp_path / "bin", old))
    text = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "550.54.14, CUDA up to 12.4" in text and "install driver 580 or newer" in text
    assert "3.9 of 24.0 GB free, held by python3 (4242) 20.0 GB; vLLM needs 10.8 GB" in text


def test_gpus_that_the_run_does_not_use_are_not_judged(tmp_path, monkeypatch):
    busy = two_gpus(free=4000, holders=HOLDER)  # the first one
    path = install(tmp_path / "bin", busy)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    text = " ".join(doctor(path=path).stdout.split())
    assert "GPU 1" in text and "GPU 0" not in text and "4242" not in text
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    text = " ".join(doctor("topology=one_gpu", path=path).stdout.split())
    assert "GPU 0" in text and "4242" in text and "GPU 1" not in text


def test_data_that_cannot_be_read_is_an_error(tmp_path):
    done = doctor("env=jsonl", "env.path=missing.jsonl")
    assert done.returncode == 1 and "env.path: there is no file missing.jsonl" in " ".join(done.stdout.split())
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\nnot JSON\n')
    done = doctor(f"data.paths=[{rows},{tmp_path}/no.jsonl]")
    text = " ".join(done.stdout.split())
    assert done.returncode == 1 and "line 2: not JSON" in text and "No such file" in text


@pytest.mark.slow
def test_an_nvidia_smi_without_a_gpu_is_quoted(tmp_path):
    done = doctor(path=install(tmp_path / "bin", saying("No devices were found", 6)))
    text = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning GPU nvidia-smi failed: No devices were found; the run uses the CPU" in text


@pytest.mark.slow
def test_an_error_sets_the_exit_code():
    done = doctor("topology.ray_address=127.0.0.1:9")  # where nothing listens
    assert done.returncode == 1 and "error   Ray" in done.stdout and "refused" in done.stdout


def test_an_invalid_setting_is_rejected_before_any_check():
    done = doctor("model=gpt")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: model=gpt: unknown")

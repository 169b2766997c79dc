"""The doctor, really run on this machine."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tools.doctor.cluster import judge_versions
from tools.doctor.facts import Node, Unknown
from tools.doctor.gather import cluster, here
from tools.doctor.probes import known

DOCTOR = [sys.executable, "tools/doctor/__main__.py", "tracker=none"]
PORT = 6397


def test_a_run_of_the_tiny_model_passes_here_and_every_group_is_shown():
    done = subprocess.run(DOCTOR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    groups = [line for line in lines if not line.startswith(" ")][:-1]
    assert groups in (["software", device, "host", "network"] for device in ("CPU", "GPU"))
    assert max(map(len, lines)) <= 80 and done.stderr == ""
    assert lines[-1].startswith("tiny on countdown: errors 0")


@pytest.mark.slow
def test_what_would_go_wrong_is_an_error_and_the_exit_code_says_so():
    nothing_listens = "topology.ray_address=127.0.0.1:9"
    done = subprocess.run([*DOCTOR, nothing_listens], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "error   Ray" in done.stdout and "refused" in done.stdout


def test_a_wrong_setting_is_refused_before_anything_is_looked_at():
    done = subprocess.run([*DOCTOR, "model=gpt"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: model=gpt: unknown")


@pytest.mark.slow
def test_the_nodes_of_a_real_cluster_are_asked():
    # A temporary folder of its own, so that no other Ray of this machine joins it; a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        nodes = nodes_of_a_cluster(folder)
    assert isinstance(nodes, tuple) and len(nodes) == 1
    assert judge_versions(nodes, here()).level == "ok" and abs(nodes[0].seconds_ahead) < 20


def nodes_of_a_cluster(folder: str) -> tuple[Node, ...] | Unknown:
    ray = str(Path(sys.executable).parent / "ray")
    start = [ray, "start", "--head", "--block", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen([*start, "--num-cpus=1"], stdout=subprocess.PIPE, text=True, env=environment) as head:
        try:
            assert head.stdout is not None and any("Ray runtime started" in line for line in head.stdout)
            return known(lambda: cluster(f"127.0.0.1:{PORT}"))
        finally:
            head.terminate()

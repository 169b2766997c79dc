import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tools.doctor.cluster import is_open, judge_access, judge_clocks, judge_versions, nodes, this_node
from tools.doctor.facts import Node
from tools.doctor.gather import ROOT
from tools.doctor.probe import known

HERE = Node("here", "3.11.7", "2.60.0", "2.13.0", 0.0)
PORT = 6397


def test_another_version_of_ray_is_an_error_and_another_clock_a_warning():
    cluster = (replace(HERE, address="10.0.0.1"), replace(HERE, address="10.0.0.2", ray="2.59.0", seconds_ahead=90.0))
    found = judge_versions(cluster, HERE)
    assert found.level == "error" and found.saw == "10.0.0.2 has Ray 2.59.0, this machine has 2.60.0"
    assert judge_versions(cluster[:1], HERE).level == "ok"
    assert judge_clocks(cluster).saw == "clocks differ from this machine's: 10.0.0.2 by +90 s"
    assert judge_clocks(cluster[:1]).level == "ok"


def test_a_cluster_without_a_token_is_a_warning():
    assert judge_access(True).level == "warning" and "RAY_AUTH_TOKEN" in judge_access(True).do
    assert judge_access(False).level == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "a" * 64])
def test_a_real_cluster_reports_its_versions_and_whether_it_is_open(token, monkeypatch):
    # A temporary folder of its own, so that no other Ray of this machine joins it; a socket's path must be short.
    for name, value in {"RAY_AUTH_MODE": "token" if token else "disabled", "RAY_AUTH_TOKEN": token or ""}.items():
        monkeypatch.setenv(name, value)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder, cluster(folder) as address:
        found, open_to_all = known(lambda: nodes(address, ROOT)), known(lambda: is_open(address, ROOT))
    assert isinstance(found, tuple) and len(found) == 1
    assert judge_versions(found, this_node()).level == "ok" and abs(found[0].seconds_ahead) < 20
    assert open_to_all is (token is None)


@contextmanager
def cluster(folder: str) -> Iterator[str]:
    """The address of a Ray cluster of one node, with the token of the environment."""
    ray = str(Path(sys.executable).parent / "ray")
    start = [ray, "start", "--head", "--block", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen([*start, "--num-cpus=1"], stdout=subprocess.PIPE, text=True, env=environment) as head:
        try:
            assert head.stdout is not None and any("Ray runtime started" in line for line in head.stdout)
            yield f"127.0.0.1:{PORT}"
        finally:
            head.terminate()

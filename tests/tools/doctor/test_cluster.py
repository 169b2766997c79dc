import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tools.doctor.cluster import judge_clocks, judge_versions, nodes, this_node
from tools.doctor.facts import Node, Unknown
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


@pytest.mark.slow
def test_the_nodes_of_a_real_cluster_report_their_versions():
    # A temporary folder of its own, so that no other Ray of this machine joins it; a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        cluster = nodes_of_a_cluster(folder)
    assert isinstance(cluster, tuple) and len(cluster) == 1
    assert judge_versions(cluster, this_node()).level == "ok" and abs(cluster[0].seconds_ahead) < 20


def nodes_of_a_cluster(folder: str) -> tuple[Node, ...] | Unknown:
    ray = str(Path(sys.executable).parent / "ray")
    start = [ray, "start", "--head", "--block", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen([*start, "--num-cpus=1"], stdout=subprocess.PIPE, text=True, env=environment) as head:
        try:
            assert head.stdout is not None and any("Ray runtime started" in line for line in head.stdout)
            return known(lambda: nodes(f"127.0.0.1:{PORT}", ROOT))
        finally:
            head.terminate()

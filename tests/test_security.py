"""What others on the network can do with a running training: nothing, without its token."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.test_train_grpo import descendants, finish, start, wait_for_step

INTRUDER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("joined")
print(ray.get(ray.remote(lambda: "ran a task").remote(), timeout=20))
"""
RAY_PROCESSES = ("gcs_server", "raylet", "ray::", "python")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A training with two ranks, and its folder."""
    folder = tmp_path_factory.mktemp("running")
    process = start(folder, "guarded", "num_steps=200", "tracker=none", "topology.actor_ranks=2")
    wait_for_step(folder, "guarded", 2)
    yield folder, process
    process.terminate()
    finish(process)


def listeners(processes: list[psutil.Process]) -> list[tuple[psutil.Process, str, int]]:
    """(process, address, port) of each socket that listens."""
    return [
        (process, connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


def token_of(process: psutil.Process) -> str:
    return process.environ()["RAY_AUTH_TOKEN"]


def test_only_ray_listens_beyond_this_machine_with_one_port_per_process(running):
    _, process = running
    seen: dict[int, list[int]] = {}
    for owner, address, port in listeners(descendants(process)):
        if not address.startswith("127.") and address != "::1":
            assert owner.environ().get("RAY_AUTH_MODE") == "token", owner.cmdline()
            seen.setdefault(owner.pid, []).append(port)
    workers = [p for p in descendants(process) if " ".join(p.cmdline()).startswith("ray::")]
    assert workers and all(len(seen.get(worker.pid, [])) <= 1 for worker in workers)


@pytest.mark.parametrize("mode", ["disabled", "token", None])
def test_an_intruder_without_the_token_is_refused(running, tmp_path, mode):
    _, process = running
    gcs = next(p for p in descendants(process) if p.name() == "gcs_server")
    ports = {port for _, _, port in listeners([gcs])}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path)} | ({"RAY_AUTH_MODE": mode} if mode else {})
    environment |= {"RAY_AUTH_TOKEN": "0" * 64} if mode == "token" else {}
    for port in ports:
        command = [sys.executable, "-c", INTRUDER, f"127.0.0.1:{port}"]
        tried = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert tried.returncode != 0 and "joined" not in tried.stdout
        assert "InvalidAuthToken" in tried.stderr


def test_the_token_is_in_the_environment_of_the_run_and_nowhere_else(running):
    folder, process = running
    family = descendants(process)
    token = token_of(next(p for p in family if p.name() == "raylet"))
    assert len(token) == 64
    for one in psutil.process_iter(["cmdline"]):
        assert token not in " ".join(one.info["cmdline"] or [])
    ray_logs = Path("/tmp/ray/session_latest").resolve()
    for path in [*folder.rglob("*"), *ray_logs.rglob("*"), Path.home() / ".ray" / "auth_token"]:
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path

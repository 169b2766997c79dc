"""What others on the network, and other users of the machine, can do with a running training: nothing, without its
token."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest
import ray

from tests.test_train_grpo import descendants, finish, start, wait_for_step
from tools.doctor.ports import is_loopback, judge_listeners
from tools.doctor.ports import listeners as ports_of_rays
from workers.session import shared_folder

INTRUDER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("joined")
print(ray.get(ray.remote(num_cpus=0)(lambda: "ran a task").remote(), timeout=60))
"""
NODE = (("node_id", "ff" * 28),)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A training with two ranks, started where Ray's authentication is switched off, and its folder."""
    folder = tmp_path_factory.mktemp("running")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        process = start(folder, "guarded", "num_steps=2000", "topology.actor_ranks=2", "tracker.mode=offline")
    try:
        wait_for_step(folder, "guarded", 2)
        yield folder, process
    finally:
        process.terminate()
        finish(process)


def family(process: subprocess.Popen) -> list[psutil.Process]:
    return [psutil.Process(process.pid), *descendants(process)]


def raylet(process: subprocess.Popen) -> psutil.Process:
    return next(one for one in descendants(process) if one.name() == "raylet")


def token_of(process: subprocess.Popen) -> str:
    return raylet(process).environ()["RAY_AUTH_TOKEN"]


def session_folder(process: subprocess.Popen) -> Path:
    """The folder of the run's Ray, from the path of its socket."""
    found = re.search(r"(/\S+/session_[^/]+)/sockets", " ".join(raylet(process).cmdline()))
    assert found
    return Path(found[1])


def listeners(process: subprocess.Popen) -> Iterator[tuple[psutil.Process, str, int]]:
    """(process, address, port) of each socket on which a process of the run listens."""
    for one in family(process):
        for connection in one.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield one, connection.laddr.ip, connection.laddr.port


def ray_methods() -> list[str]:
    """The paths of all methods of Ray's services, from its programs: Ray has Python code for some of them only."""
    programs = ("core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server", "_raylet.so")
    texts = [Path(ray.__file__).parent.joinpath(program).read_bytes() for program in programs]
    found = {match.decode() for text in texts for match in re.findall(rb"/ray\.rpc(?:\.\w+)+/[A-Za-z]+", text)}
    return sorted(found)


def answers_without_token(port: int, methods: list[str]) -> dict[str, grpc.StatusCode]:
    """How a port answers to an empty request for each method, sent without a token, if it has the method. The
    request has the metadata without which a method of Ray ends the process before it looks for the token."""
    found = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in methods:
            try:
                channel.unary_unary(method)(b"", timeout=10, metadata=NODE)
                found[method] = grpc.StatusCode.OK
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    found[method] = error.code()
    return found


def test_nothing_listens_beyond_this_machine(running):
    _, process = running
    found = list(listeners(process))
    assert {"gcs_server", "raylet"} <= {owner.name() for owner, _, _ in found}
    assert [(owner.cmdline(), address) for owner, address, _ in found if not is_loopback(address)] == []


def test_every_method_of_ray_requires_the_token(running):
    """Joining, submitting a task and reading an object are such methods, of the GCS, of the raylet with its object
    manager, and of the driver, which is a worker. Other users of the machine can reach them."""
    _, process = running
    methods, seen = ray_methods(), set()
    assert len(methods) > 100
    for owner, _, port in listeners(process):
        if owner.name() in ("gcs_server", "raylet") or owner.pid == process.pid:
            answers = answers_without_token(port, methods)
            codes = set(answers.values())
            assert codes == {grpc.StatusCode.UNAUTHENTICATED}, (owner.cmdline(), port, answers)
            seen |= {method.split("/")[1].rpartition(".")[2] for method in answers}
    assert {"NodeInfoGcsService", "NodeManagerService", "ObjectManagerService", "CoreWorkerService"} <= seen


def intrude(port: int, home: Path, **environment: str) -> subprocess.CompletedProcess:
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", INTRUDER, f"127.0.0.1:{port}"]
    # Otherwise Ray replaces 127.0.0.1 by the address of the machine, at which nothing listens.
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment = without | loopback | {"HOME": str(home)} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)


def gcs_port(process: subprocess.Popen) -> int:
    """The port at which others join."""
    return next(port for owner, _, port in listeners(process) if owner.name() == "gcs_server")


def test_an_intruder_without_the_token_can_not_join(running, tmp_path):
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    environments = [{"RAY_AUTH_MODE": "disabled"}, wrong, {}]
    port = gcs_port(running[1])
    with ThreadPoolExecutor() as pool:  # each tries for 20 s
        tried = list(pool.map(lambda environment: intrude(port, tmp_path, **environment), environments))
    for each in tried:
        assert each.returncode != 0 and "joined" not in each.stdout, each.stdout
        assert "token" in each.stderr.lower()


def test_the_same_intruder_with_the_token_runs_a_task(running, tmp_path):
    """So what keeps the others out is the token."""
    _, process = running
    tried = intrude(gcs_port(process), tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token_of(process))
    assert "joined" in tried.stdout and "ran a task" in tried.stdout, tried.stderr


def test_the_token_is_in_the_environment_of_the_run_and_nowhere_else(running):
    folder, process = running
    token = token_of(process)
    assert re.fullmatch("[0-9a-f]{64}", token)
    for one in psutil.process_iter(["cmdline"]):
        assert token not in " ".join(one.info["cmdline"] or [])
    graders = [one for one in descendants(process) if "envs.grading" in one.cmdline()]
    assert graders and not any("RAY_AUTH_TOKEN" in one.environ() for one in graders)  # they read what a model writes
    files = [path for root in (folder, session_folder(process)) for path in root.rglob("*")]
    files += [*Path("/dev/shm").glob("ahazero-*/*"), *Path.home().glob(".ray/*")]
    names = {path.name for path in files}
    assert "config.yaml" in names and "raylet.out" in names and "wandb" in names
    for path in files:
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


def test_other_users_of_the_machine_cannot_reach_the_folders_of_the_run(running):
    """Ray makes the folders of its sockets and logs writable for all, so they are in one that only the user enters."""
    folder, process = running
    session = session_folder(process)
    assert any(parent.stat().st_mode & 0o077 == 0 for parent in session.parents)
    assert shared_folder(folder / "outputs" / "guarded").stat().st_mode & 0o077 == 0


def test_doctor_lists_the_ports_of_the_run(running):
    ports = {port for _, _, port in listeners(running[1])}
    found = tuple(one for one in ports_of_rays() if one.port in ports)
    assert {"gcs_server", "raylet"} <= {one.process for one in found} and all(one.has_token for one in found)
    assert judge_listeners(found).saw == f"{len(found)} ports, on this machine alone"

"""What is in the way of Ray is found before it starts, in one line."""

import os
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workers import machine
from workers.machine import VARIABLES, check_machine, open_file_limit, ray_folder

ROOT = Path(__file__).parents[2]
TINY = ROOT / "envs/countdown/models/tiny"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("RAY_TMPDIR", "TMPDIR", *VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_this_machine_can_start_ray():
    check_machine(None)


def test_a_temporary_folder_that_is_too_long_for_ray_is_refused(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp/" + "a" * 50)
    with pytest.raises(ValueError, match=r"has 55 bytes, but Ray's sockets allow at most \d+; set RAY_TMPDIR"):
        check_machine(None)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_machine(None)


def test_the_longest_path_of_a_socket_fits(monkeypatch):
    most = machine.MAX_SOCKET - len(f"/ray-{os.geteuid()}{machine.SOCKET}")
    monkeypatch.setenv("TMPDIR", "/" + "a" * (most - 1))
    assert len(f"{machine._own_folder()}{machine.SOCKET}") == machine.MAX_SOCKET
    assert "is not a folder that can be written" in machine.folder_obstacle().saw


def test_a_full_temporary_folder_is_refused(monkeypatch):
    full = SimpleNamespace(f_bavail=10, f_frsize=2**20, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(ValueError, match="TMPDIR=/tmp is full: 10 MB"):
        check_machine(None)
    full.f_bavail, full.f_files = 10_000, 5  # no inodes left
    with pytest.raises(ValueError, match="TMPDIR=/tmp is full: 10000 MB and 0 files"):
        check_machine(None)


def test_the_folder_of_ray_can_be_entered_by_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    own = ray_folder().parent
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    assert ray_folder().parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_another_user_made_is_refused(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short path
        monkeypatch.setenv("RAY_TMPDIR", folder)
        Path(folder, f"ray-{os.geteuid()}").symlink_to("/tmp")
        with pytest.raises(ValueError, match="belongs to another user"):
            check_machine(None)


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_that_would_change_a_local_ray_are_refused(name, monkeypatch):
    monkeypatch.setenv(name, "10.0.0.1:6379")
    with pytest.raises(ValueError, match=f"{name}=10.0.0.1:6379 .*; unset {name}"):
        check_machine(None)


def test_too_few_open_files_are_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 512))
    assert open_file_limit() == 512  # Ray raises the soft limit
    with pytest.raises(ValueError, match="ulimit -n.* is 512"):
        check_machine(None)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    assert open_file_limit() == machine.RAY_OPEN_FILES


def test_a_cluster_must_answer_at_its_address(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        check_machine(address)
        monkeypatch.setenv("RAY_ADDRESS", address)
        check_machine("auto")
    for given in (address, "auto"):
        with pytest.raises(ValueError, match=f"topology.ray_address={given}, but nothing answers there .*; run ray"):
            check_machine(given)
    with pytest.raises(ValueError, match="topology.ray_address=local must be null, auto or HOST:PORT"):
        check_machine("local")


@pytest.mark.parametrize("script", ["train_grpo.py", "evaluate.py"])
def test_the_entry_points_refuse_before_they_start(script, tmp_path):
    command = [sys.executable, str(ROOT / script), f"model.path={TINY}", "tracker=none"]
    environment = os.environ | {"RAY_ADDRESS": "10.0.0.1:6379"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: RAY_ADDRESS=10.0.0.1:6379 names a cluster")

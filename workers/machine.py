"""What Ray needs from this machine, checked before it starts; `make doctor` reports the same checks.

Nothing here imports ray or torch, because the doctor also runs where they cannot be imported.
"""

import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

RAY_HEAD = "gcs_server"  # the process that every Ray cluster has once
MAX_SOCKET = 107  # bytes of a socket's path
SOCKET = "/ray/session_2026-01-31_23-59-59_000000_1234567/sockets/plasma_store"
MIN_FREE_MB = 100  # for the sockets and the logs of a session
MIN_OPEN_FILES = 1024
RAY_OPEN_FILES = 65536  # to which Ray raises the limit, as far as the hard limit allows
CONNECT_SECONDS = 4.0
# Variables that would change a local Ray, and what they do.
VARIABLES = {
    "RAY_ADDRESS": "names a cluster, but topology.ray_address is not set",
    "RAY_REDIS_ADDRESS": "makes Ray keep its state on another machine",
    "RAY_OVERRIDE_RESOURCES": "replaces the CPUs and GPUs that the run reserves",
    "RAY_RUNTIME_ENV_HOOK": "replaces the environment of the run's processes",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "replaces the environment of the run's processes",
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "gives every process all GPUs",
}


@dataclass(frozen=True)
class Obstacle:
    """Why Ray would not start, or would not start as the settings say, and what the user can do."""

    saw: str
    do: str


def check_machine(address: str | None) -> None:
    """Check this machine before Ray is started, or before the cluster at `address` is joined.

    Raises:
        ValueError: an obstacle, in one sentence.
    """
    own = [cluster_obstacle(address)] if address else local_obstacles().values()
    for found in (*own, open_files_obstacle(open_file_limit())):
        if found is not None:
            raise ValueError(f"{found.saw}; {found.do}")


def local_obstacles() -> Mapping[str, Obstacle | None]:
    """What is in the way of a local Ray, by the name of the check; None where nothing is."""
    return {"Ray's folder": folder_obstacle(), "RAY_ variables": variable_obstacle()}


def ray_folder() -> Path:
    """The folder of a local Ray's sockets and logs, in a folder that only this user can enter. Left to itself, Ray
    makes the folder of a session writable for all users of the machine."""
    folder = _own_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder / "ray"


def folder_obstacle() -> Obstacle | None:
    """The folder for temporary files: the length of its path, its rights, and its free space."""
    base, own = _temporary_folder(), _own_folder()
    length, most = len(os.fsencode(base)), MAX_SOCKET - len(f"/{own.name}{SOCKET}")
    if length > most:
        return Obstacle(
            f"TMPDIR={base} has {length} bytes, but Ray's sockets allow at most {most}",
            "set RAY_TMPDIR to a folder with a shorter path, such as /tmp",
        )
    if not os.access(base, os.W_OK | os.X_OK):
        return Obstacle(f"TMPDIR={base} is not a folder that can be written", "set RAY_TMPDIR to one, such as /tmp")
    space = os.statvfs(base)
    free = space.f_bavail * space.f_frsize / 2**20
    if free < MIN_FREE_MB or (space.f_files and not space.f_favail):
        return Obstacle(
            f"TMPDIR={base} is full: {free:.0f} MB and {space.f_favail} files are left, and Ray needs {MIN_FREE_MB} MB",
            "free space there, or set RAY_TMPDIR to another folder",
        )
    if os.path.lexists(own) and (own.is_symlink() or own.stat().st_uid != os.geteuid()):
        return Obstacle(f"{own} belongs to another user", "set RAY_TMPDIR to a folder of your own")
    return None


def variable_obstacle() -> Obstacle | None:
    """The environment variables that would change a local Ray."""
    for name, effect in VARIABLES.items():
        if value := os.environ.get(name):
            join = ", or join the cluster with topology.ray_address=auto" if name == "RAY_ADDRESS" else ""
            return Obstacle(f"{name}={value} {effect}", f"unset {name}{join}")
    return None


def open_files_obstacle(limit: int) -> Obstacle | None:
    if limit >= MIN_OPEN_FILES:
        return None
    saw = f"the limit of open files (ulimit -n) is {limit}, and Ray needs {MIN_OPEN_FILES}"
    return Obstacle(saw, "run ulimit -Hn 65536 as root, or docker run --ulimit nofile=65536")


def open_file_limit() -> int:
    """The number of files that a process may have open once Ray has raised its limit."""
    soft, hard = (2**62 if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    return max(soft, min(hard, RAY_OPEN_FILES))


def cluster_obstacle(address: str) -> Obstacle | None:
    """Whether a Ray cluster can be found at topology.ray_address."""
    key = f"topology.ray_address={address}"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address == "auto":
        announced = Path(_temporary_folder(), "ray", "ray_current_cluster")
        if announced.is_file() or any(p.info["name"] == RAY_HEAD for p in psutil.process_iter(["name"])):
            return None
        return Obstacle(f"{key}, but Ray is not running on this machine", "run ray start --head, or set HOST:PORT")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return Obstacle(f"{key} must be null, auto or HOST:PORT", "null starts a local Ray")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return None
    except (OSError, OverflowError) as error:
        return Obstacle(f"{key}, but nothing answers there ({error})", f"run ray start --head --port={port} on {host}")


def _temporary_folder() -> str:
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _own_folder() -> Path:
    return Path(_temporary_folder(), f"ray-{os.geteuid()}")

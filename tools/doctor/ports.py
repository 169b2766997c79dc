"""The ports on which Ray and the processes of runs listen, and who may use them."""

import ipaddress
from collections.abc import Iterator

import psutil

from tools.doctor.facts import Listener
from tools.doctor.findings import OK, WARNING, Finding

RAY = ("raylet", "gcs_server")
MAX_NAMED = 6


def listeners() -> tuple[Listener, ...]:
    """The ports of each Ray on this machine: of its own processes, of the program that started it, and of what both
    have started. Processes of other users are left out, since only they can list them."""
    found: dict[tuple[str, int], Listener] = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in RAY:
            for listener in _of_a_ray(process):
                found.setdefault((listener.address, listener.port), listener)
    return tuple(found.values())


def _of_a_ray(ray: psutil.Process) -> Iterator[Listener]:
    try:
        has_token = ray.environ().get("RAY_AUTH_MODE") == "token"
        driver = ray.parent()
        family = [ray, *ray.children(recursive=True)]
        if driver is not None and "python" in driver.name():
            family += [driver, *driver.children(recursive=True)]
    except psutil.Error:  # it ended, or belongs to another user
        return
    for process in family:
        try:
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield Listener(process.name().split()[0], connection.laddr.ip, connection.laddr.port, has_token)
        except psutil.Error:
            continue


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to an address, such as 127.0.0.1, ::1 or ::ffff:127.0.0.1."""
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def judge_listeners(listeners: tuple[Listener, ...]) -> Finding:
    """Anyone who can reach a port of a Ray without a token can execute code as the user of the run."""
    if not listeners:
        return Finding(OK, "Ray is not running here")
    outside = [one for one in listeners if not is_loopback(one.address)]
    inside = len(listeners) - len(outside)
    if unprotected := [one for one in outside if not one.has_token]:
        saw = f"anyone who can reach this machine can execute code through {_named(unprotected)}"
        return Finding(WARNING, saw, "stop this Ray, and start it with RAY_AUTH_MODE=token; see docs/security.md")
    if not outside:
        return Finding(OK, f"{inside} ports, on this machine alone")
    saw = f"on all interfaces, for those who have the run's token: {_named(outside)}; on this machine alone: {inside}"
    return Finding(OK, saw)


def _named(listeners: list[Listener]) -> str:
    """The ports by process."""
    ports: dict[str, list[str]] = {}
    for one in listeners:
        ports.setdefault(one.process, []).append(str(one.port))
    named = [f"{process} {' '.join(numbers)}" for process, numbers in list(ports.items())[:MAX_NAMED]]
    return ", ".join(named) + (", ..." if len(ports) > MAX_NAMED else "")

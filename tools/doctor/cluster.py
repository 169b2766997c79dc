"""The nodes of a Ray cluster, compared with this machine."""

import json
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tools.doctor.facts import Node, Unknown
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.network import MAX_CLOCK_OFFSET_SECONDS, check_port
from tools.doctor.probe import output_of

SECONDS = 40.0


def nodes(address: str | None, root: Path) -> tuple[Node, ...] | Unknown:
    """The nodes of the cluster that the run joins. root: folder of the repository.

    Raises:
        OSError: nothing listens at the address, or the cluster rejects this machine; with Ray's message.
    """
    if address is None:
        return Unknown("topology.ray_address is not set")
    if ":" in address:
        check_port(address)
    printed = output_of([sys.executable, "-m", "workers.nodes", address], SECONDS, root)
    return tuple(Node(**node) for node in json.loads(printed.splitlines()[-1]))


def is_open(address: str | None, root: Path) -> bool | Unknown:
    """Whether a cluster, which accepts this process, also accepts those who have no token.

    Raises:
        TimeoutError: it did not answer.
    """
    if address is None:
        return Unknown("topology.ray_address is not set")
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    with tempfile.TemporaryDirectory() as home:  # which may have a token, too
        without |= {"RAY_AUTH_MODE": "disabled", "HOME": home}
        try:
            output_of([sys.executable, "-m", "workers.nodes", address], SECONDS, root, without)
        except TimeoutError:
            raise
        except OSError:
            return False
    return True


def this_node() -> Node:
    return Node("here", platform.python_version(), metadata.version("ray"), metadata.version("torch"), 0.0)


def judge_versions(cluster: tuple[Node, ...], here: Node) -> Finding:
    """Ray exchanges pickled objects, so Ray and Python must have the same version on every machine, and torch too
    because of the weights."""
    wrong = [
        f"{node.address} has {library} {theirs}, this machine has {ours}"
        for node in cluster
        for library, theirs, ours in (
            ("Python", node.python, here.python),
            ("Ray", node.ray, here.ray),
            ("torch", node.torch, here.torch),
        )
        if theirs != ours
    ]
    if wrong:
        do = "use the same commit and run make setup on every node, then ray start again"
        return Finding(ERROR, "; ".join(wrong), do)
    return Finding(OK, f"{len(cluster)} nodes with Python {here.python}, Ray {here.ray}, torch {here.torch}")


def judge_clocks(cluster: tuple[Node, ...]) -> Finding:
    off = [
        f"{node.address} by {node.seconds_ahead:+.0f} s"
        for node in cluster
        if abs(node.seconds_ahead) > MAX_CLOCK_OFFSET_SECONDS
    ]
    if off:
        return Finding(WARNING, f"clocks differ from this machine's: {', '.join(off)}", "sudo timedatectl set-ntp true")
    return Finding(OK, f"within {MAX_CLOCK_OFFSET_SECONDS:.0f} s of each other")


def judge_access(is_open: bool) -> Finding:
    if not is_open:
        return Finding(OK, "required")
    saw = "anyone who can reach the cluster can execute code on it, because it requires no token"
    return Finding(
        WARNING, saw, "start it with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN on all nodes; see docs/security.md"
    )

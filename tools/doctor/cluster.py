"""The machines of a Ray cluster against this one."""

from tools.doctor.facts import Node
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.network import MOST_SECONDS_OFF


def judge_versions(nodes: tuple[Node, ...], here: Node) -> Finding:
    """Ray passes pickled objects: Ray and Python must be the same on every machine, to the last digit; torch
    too, for the weights."""
    wrong = [
        f"{node.address} has {library} {theirs}, here it is {ours}"
        for node in nodes
        for library, theirs, ours in (
            ("Python", node.python, here.python),
            ("Ray", node.ray, here.ray),
            ("torch", node.torch, here.torch),
        )
        if theirs != ours
    ]
    if wrong:
        return Finding(ERROR, "; ".join(wrong), "the same commit and make setup on every node, then ray start again")
    return Finding(OK, f"{len(nodes)} nodes with Python {here.python}, Ray {here.ray}, torch {here.torch}")


def judge_clocks(nodes: tuple[Node, ...]) -> Finding:
    off = [
        f"{node.address} by {node.seconds_ahead:+.0f} s" for node in nodes if abs(node.seconds_ahead) > MOST_SECONDS_OFF
    ]
    if off:
        return Finding(WARNING, f"clocks differ from this one: {', '.join(off)}", "sudo timedatectl set-ntp true")
    return Finding(OK, f"within {MOST_SECONDS_OFF:.0f} s of each other")

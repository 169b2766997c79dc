"""Runs code in the sandbox, for the tests."""

import os
import textwrap

from envs.code.sandbox import Limits, Sandbox

FAST = Limits(seconds=5.0)


def call(body: str, *arguments: object, limits: Limits = FAST, before: str = "") -> dict:
    """The reply to `attack(*arguments)`, a function with this body."""
    source = (
        f"import os\n{textwrap.dedent(before)}\ndef attack(*args):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    )
    with Sandbox(limits) as sandbox:
        assert sandbox.ask({"define": source, "function": "attack", "context": ""}) == {"defined": True}
        return sandbox.ask({"call": list(arguments)})


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

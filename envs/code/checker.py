"""Checks whether a function that a model wrote passes the tests of its problem.

Tests are data: arguments and expected results as trees (envs/code/plain.py). The candidate's process receives the
arguments of one call at a time, and its results are compared here, so it can neither read the expected results nor
claim to have passed. Tests of a dataset that are not such pairs remain asserts: they run in a second sandbox, whose
calls are forwarded to the first.

    {"function": name, "tests": [{"args": [tree, ..], "expected": tree}, ..],
     "compare": "strict" or "equal", "context": source, "asserts": source}

`compare`: "strict" distinguishes True from 1 and 1 from 1.0 (see plain.same); "equal" is Python's ==.
`context` runs before the answer and before the asserts: imports and helpers of the dataset.

Limitation: only the result of a function is checked, not its changes to its arguments.
"""

import re
from collections.abc import Mapping
from typing import Any

from envs.code.plain import Tree, loosened, same, show
from envs.code.sandbox import Limits, Sandbox, SandboxError, Stopped
from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 20_000
# An opening fence of three or more backticks or tildes, with or without an info string.
OPENING = re.compile(r"\s*(`{3,}|~{3,})[^\n`]*\n")


def source_of(answer: str) -> str:
    """The program in an answer, without a Markdown code fence around it."""
    answer = answer.replace("\r\n", "\n").replace("\r", "\n")
    opening = OPENING.match(answer)
    if opening is None:
        return answer
    fenced = answer[opening.end() :].rstrip()
    end = fenced.find(opening[1], len(fenced.rstrip("`~")))  # of the program: the closing fence is last
    return fenced[:end].rstrip(" \t").removesuffix("\n") if end >= 0 else answer


def check_code(answer: str | None, fields: Mapping[str, Any], limits: Limits) -> Verdict:
    """Run the tests of `fields`, up to the first that fails. `limits` apply to all tests together.

    Raises:
        SandboxError: the sandbox failed; the answer may be correct or wrong.
    """
    if answer is None or not answer.strip():
        return NO_ANSWER
    source = source_of(answer)
    if len(source) > MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    program = {"define": source, "function": fields["function"], "context": fields.get("context", "")}
    with Sandbox(limits) as sandbox:
        try:
            reply = sandbox.ask(program)
        except Stopped as stopped:
            return Verdict(False, False, str(stopped))
        if reply.get("defined") is not True:
            return Verdict(False, False, text(reply.get("syntax", reply.get("undefined"))))
        failure = failed_test(sandbox, fields)
        if failure is None and fields.get("asserts"):
            failure = failed_assert(sandbox, fields, limits)
    return CORRECT if failure is None else Verdict(False, True, failure)


def failed_test(sandbox: Sandbox, fields: Mapping[str, Any]) -> str | None:
    """Describe the first failing test; None if all tests pass."""
    tests, loosely = fields["tests"], fields.get("compare", "strict") == "equal"
    for number, test in enumerate(tests, start=1):
        call = f"{fields['function']}({', '.join(map(show, test['args']))})"
        description = f"test {number} of {len(tests)}: {call}"
        try:
            reply = sandbox.ask({"call": test["args"]})
        except Stopped as stopped:
            return f"{description}: {stopped}"
        if "result" not in reply:
            return f"{description} {text(reply.get('raised'))}"
        given, expected = reply["result"], test["expected"]
        if not equal(given, expected, loosely):
            return f"{description} gave {show(given)}, not {show(expected)}"
    return None


def equal(given: Tree, expected: Tree, loosely: bool) -> bool:
    return same(loosened(given), loosened(expected)) if loosely else same(given, expected)


def failed_assert(sandbox: Sandbox, fields: Mapping[str, Any], limits: Limits) -> str | None:
    """Run the asserts in a second sandbox and forward their calls to `sandbox`. Describe the failure; None if all pass.

    Raises:
        SandboxError: the asserts cannot be run in this way.
    """
    program = {"test": fields["asserts"], "function": fields["function"], "context": fields.get("context", "")}
    with Sandbox(limits) as tester:
        try:
            reply = tester.ask(program)
            while "call" in reply:
                answer = sandbox.ask({"call": reply["call"], "named": reply.get("named", [])})
                forward = {"result": answer["result"]} if "result" in answer else {"raised": text(answer.get("raised"))}
                reply = tester.ask(forward)
        except Stopped as stopped:
            return f"the asserts: {stopped}"
    if "unsupported" in reply:
        raise SandboxError(f"the asserts of this problem cannot be run: {text(reply['unsupported'])}")
    return None if reply.get("passed") is True else f"the asserts: {text(reply.get('failed'))}"


def text(words: object) -> str:
    """A message of the sandboxed process, shortened and encodable."""
    return str(words)[:300].encode("utf-8", "replace").decode()

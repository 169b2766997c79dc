"""Does a function that a model wrote pass the tests of its problem?

The tests are data: arguments and expected results as trees of envs/code/plain.py. The candidate's
process is sent the arguments, one call at a time, and its results are compared here, so it can
neither read the expected results nor say itself that it passed. Tests of a data set that are no
such pairs are asserts: they run in a second sandbox, whose calls are carried over to the first.

    {"function": name, "tests": [{"args": [tree, ..], "expected": tree}, ..],
     "compare": "strict" or "equal", "context": source, "asserts": source}

`compare`: "strict" tells True from 1 and 1 from 1.0 (see plain.same), "equal" is Python's ==.
`context` runs before the answer, and before the asserts: imports and helpers of the data set.

The limit of this: a change that a function makes to its arguments is not seen, only its result.
"""

import re
from collections.abc import Mapping
from typing import Any

from envs.code.plain import Tree, loosened, same, show
from envs.code.sandbox import Limits, SandboxError, Session, Stopped
from rewards.verdict import CORRECT, NO_ANSWER, Verdict

MAX_LENGTH = 20_000
FENCE = re.compile(r"\s*```[A-Za-z0-9]*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)


def source_of(answer: str) -> str:
    """The program in an answer, without the fence that models like to put around it."""
    fenced = FENCE.fullmatch(answer)
    return fenced[1] if fenced else answer


def check_code(answer: str | None, fields: Mapping[str, Any], limits: Limits) -> Verdict:
    """Run every test of `fields`, all within one budget of `limits`, and stop at the first that fails.

    Raises:
        SandboxError: the sandbox could not do its work; the answer may be right or wrong.
    """
    if answer is None or not answer.strip():
        return NO_ANSWER
    source = source_of(answer)
    if len(source) > MAX_LENGTH:
        return Verdict(False, False, f"longer than {MAX_LENGTH} characters")
    program = {"define": source, "function": fields["function"], "context": fields.get("context", "")}
    with Session(limits) as session:
        try:
            reply = session.ask(program)
        except Stopped as stopped:
            return Verdict(False, False, str(stopped))
        if reply.get("defined") is not True:
            return Verdict(False, False, text(reply.get("syntax", reply.get("undefined"))))
        failure = failed_test(session, fields)
        if failure is None and fields.get("asserts"):
            failure = failed_assert(session, fields, limits)
    return CORRECT if failure is None else Verdict(False, True, failure)


def failed_test(session: Session, fields: Mapping[str, Any]) -> str | None:
    """What the first failing test shows, None when all pass."""
    tests, loosely = fields["tests"], fields.get("compare", "strict") == "equal"
    for number, test in enumerate(tests, start=1):
        call = f"{fields['function']}({', '.join(map(show, test['args']))})"
        told = f"test {number} of {len(tests)}: {call}"
        try:
            reply = session.ask({"call": test["args"]})
        except Stopped as stopped:
            return f"{told}: {stopped}"
        if "result" not in reply:
            return f"{told} {text(reply.get('raised'))}"
        given, expected = reply["result"], test["expected"]
        if not equal(given, expected, loosely):
            return f"{told} gave {show(given)}, not {show(expected)}"
    return None


def equal(given: Tree, expected: Tree, loosely: bool) -> bool:
    return same(loosened(given), loosened(expected)) if loosely else same(given, expected)


def failed_assert(session: Session, fields: Mapping[str, Any], limits: Limits) -> str | None:
    """Run the asserts in a sandbox of their own; every call that they make goes to `session`.

    Raises:
        SandboxError: the asserts themselves cannot be run in this way.
    """
    program = {"test": fields["asserts"], "function": fields["function"], "context": fields.get("context", "")}
    with Session(limits) as tester:
        try:
            reply = tester.ask(program)
            while "call" in reply:
                answer = session.ask({"call": reply["call"], "named": reply.get("named", [])})
                carried = {"result": answer["result"]} if "result" in answer else {"raised": text(answer.get("raised"))}
                reply = tester.ask(carried)
        except Stopped as stopped:
            return f"the asserts: {stopped}"
    if "unsupported" in reply:
        raise SandboxError(f"the asserts of this problem cannot be run: {text(reply['unsupported'])}")
    return None if reply.get("passed") is True else f"the asserts: {text(reply.get('failed'))}"


def text(words: object) -> str:
    """What the sandboxed process says, made fit to be logged."""
    return str(words)[:300].encode("utf-8", "replace").decode()

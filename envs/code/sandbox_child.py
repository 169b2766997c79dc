"""The process inside the sandbox: `python -c "... main()" FOLDER PARENT CPU_SECONDS MEMORY`.

This is the only module of the project that executes text as code, and only after `lock_down`. The process exchanges
JSON lines with its parent: it sends {"ready": true}, receives one program, and then replies.

- {"define": source, "function": name, "context": source} defines a function. The reply is {"defined": true},
  {"syntax": reason} or {"undefined": reason}. Then every {"call": arguments, "named": [[name, value], ..]} is
  answered with {"result": tree} or {"raised": reason}. Expected results are never sent to this process.
- {"test": source, "function": name, "context": source} runs the asserts of a dataset, in a process without the
  candidate's code. The function is a stub that sends each call to the parent, as {"call": ..} above, and waits for
  {"result": ..} or {"raised": ..}. The final reply is {"passed": true}, {"failed": reason}, or {"unsupported": reason}
  if the asserts cannot be run in this way.
"""

import json
import os
import sys
import types
from typing import Any

from envs.code.lockdown import LockdownError, lock_down
from envs.code.plain import PlainError, Tree, decode, encode

MAX_LINE = 256 * 1024
FILE_SIZE = 2**20


class UnsupportedError(Exception):
    """An assert passes the function an argument that is not plain data."""


class Channel:
    """JSON lines to and from the parent, on separate descriptors: the program's standard output is redirected, and its
    standard input is empty."""

    def __init__(self) -> None:
        self.reader = open(os.dup(0), "rb")  # noqa: SIM115 - open for the lifetime of the process
        self.writer = os.dup(1)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def receive(self) -> dict[str, Any]:
        line = self.reader.readline()
        if not line:
            os._exit(0)
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self.writer, data) :]


def main() -> None:
    folder, (parent, cpu_seconds, memory) = sys.argv[1], map(int, sys.argv[2:])
    channel = Channel()
    os.environ.clear()
    try:
        lock_down(folder, parent, cpu_seconds, memory, FILE_SIZE)
    except (LockdownError, OSError, ValueError) as error:
        channel.send({"missing": str(error)})
        return
    channel.send({"ready": True})
    program = channel.receive()
    if "test" in program:
        channel.send(run_asserts(channel, program))
    else:
        answer_calls(channel, program)


def answer_calls(channel: Channel, program: dict[str, Any]) -> None:
    """Define the candidate's function, then answer the calls of the parent."""
    try:
        code = compile(program["define"], "answer", "exec", dont_inherit=True)
    except BaseException as error:  # noqa: BLE001 - SyntaxError, ValueError, RecursionError, MemoryError
        channel.send({"syntax": words(error)})
        return
    module = new_module("answer")
    try:
        exec(program["context"], vars(module))  # noqa: S102 - the purpose of this process
        vars(module).pop(program["function"], None)
        exec(code, vars(module))  # noqa: S102
    except BaseException as error:  # noqa: BLE001 - a program may raise anything, including SystemExit
        channel.send({"undefined": words(error)})
        return
    function = vars(module).get(program["function"])
    if not callable(function):
        channel.send({"undefined": f"does not define {program['function']}"})
        return
    channel.send({"defined": True})
    while True:
        request = channel.receive()
        try:
            named = {name: decode(value) for name, value in request.get("named", [])}
            result = encode(function(*map(decode, request["call"]), **named))
            if len(json.dumps(result)) > MAX_LINE - 100:
                raise PlainError(f"a result of more than {MAX_LINE // 1024} KB")
            reply = {"result": result}
        except PlainError as error:
            reply = {"raised": f"gave {error}"}
        except BaseException as error:  # noqa: BLE001
            reply = {"raised": f"raised {words(error)}"}
        channel.send(reply)


def run_asserts(channel: Channel, program: dict[str, Any]) -> dict[str, Any]:
    """Run the asserts of a dataset against a function in another process."""

    def stub(*arguments: object, **named: object) -> object:
        try:
            call = [encode(argument) for argument in arguments]
            pairs = [[name, encode(value)] for name, value in named.items()]
        except PlainError as error:
            raise UnsupportedError(f"an argument is {error}") from None
        channel.send({"call": call, "named": pairs})
        reply = channel.receive()
        if "raised" in reply:
            raise RuntimeError(reply["raised"])
        tree: Tree = reply["result"]
        return decode(tree)

    module = new_module("asserts")
    try:
        exec(program["context"], vars(module))  # noqa: S102
        vars(module)[program["function"]] = stub
        exec(program["test"], vars(module))  # noqa: S102
    except (NameError, ImportError, SyntaxError, UnsupportedError) as error:
        return {"unsupported": words(error)}
    except BaseException as error:  # noqa: BLE001
        return {"failed": words(error)}
    return {"passed": True}


def new_module(name: str) -> types.ModuleType:
    """A new module, registered in sys.modules for libraries that look up the module of a class."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def words(error: BaseException) -> str:
    """Describe an exception in one short line; for a SyntaxError with the line number in the program."""
    try:
        text = f"{type(error).__name__}: {error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        text = text or f"{type(error).__name__}: {error}"
        return " ".join(text.removesuffix(": ").split())[:200]
    except BaseException:  # noqa: BLE001 - a program's own exception class may do anything
        return "an exception that cannot be printed"

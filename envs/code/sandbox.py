"""A sandbox for code that a model wrote: a new Python process that is locked down before it reads the code.

envs/code/lockdown.py restricts the process, and envs/code/sandbox_child.py runs in it. This module enforces the
limits of time, output and files, and kills the process. It needs neither privileges nor containers, only Linux with
Landlock and seccomp; without them no code is run.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from envs.code.plain import PlainError, read_tree
from envs.code.sandbox_child import MAX_LINE

ROOT = str(Path(__file__).resolve().parents[2])
STARTER = (
    "import sys; sys.path.append(sys.argv.pop(1)); from envs.code.sandbox_child import main; sys.path.pop(); main()"
)
START_TIMEOUT = 30.0  # seconds in which Python must start on a busy machine, before any program runs
POLL_INTERVAL = 0.05  # seconds between checks of the folder's size
PAGE = 4096

PROBE = """
import os, socket, subprocess, threading, resource, signal

def breaches(path, parent):
    attempts = {
        "reading files": lambda: open(path).close(),
        "writing files": lambda: os.close(os.open(path, os.O_WRONLY)),
        "no new processes": lambda: os.fork() or os._exit(0),
        "no other programs": lambda: os.execv("/bin/true", ["true"]),
        "no threads": lambda: threading.Thread(target=int).start(),
        "no network": lambda: socket.socket().close(),
        "no signals to others": lambda: os.kill(parent, 0),
        "lasting limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    }
    found = []
    for name, attempt in attempts.items():
        try:
            attempt()
            found.append(name)
        except Exception:
            pass
    return found
"""


class SandboxError(RuntimeError):
    """The sandbox failed, which says nothing about the program."""


class Stopped(Exception):  # noqa: N818 - the program failed, not the sandbox
    """The program ended or was killed before it replied; the message gives the reason."""


@dataclass(frozen=True)
class Limits:
    """The limits of one program over all its calls.

    seconds    wall-clock time, starting when the program is read; CPU time is limited to the same, rounded up, plus 1
    memory_mb  address space in MB, including about 20 MB of the interpreter
    output_kb  standard output and error together, in KB
    folder_mb  files in the temporary working directory, in MB
    """

    seconds: float = 2.0
    memory_mb: int = 256
    output_kb: int = 64
    folder_mb: int = 16


class Sandbox:
    """A sandboxed process: `with Sandbox(Limits()) as sandbox: sandbox.ask({"define": ..})`.

    Raises:
        SandboxError: the process could not be started, or this system lacks a protection.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left = limits.seconds
        self.received = b""
        self.printed = bytearray()
        self.folder = tempfile.mkdtemp(prefix="sandbox-")
        self.selector = selectors.DefaultSelector()
        try:
            self.process = self._start()
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SandboxError(f"the sandbox could not be started: {error}") from error
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return the reply, which a hostile program may have forged.

        Raises:
            Stopped: there was no reply within the limits.
        """
        if self.received:
            raise Stopped("wrote to the result channel")
        started = time.monotonic()
        try:
            line = self._exchange(json.dumps(message).encode() + b"\n", self.left)
        finally:
            self.left -= time.monotonic() - started
        try:
            answer = read_tree(line)
        except PlainError:
            answer = None
        if not isinstance(answer, dict):
            raise Stopped("wrote to the result channel")
        return answer

    def close(self) -> None:
        """Kill the process and remove its folder."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self.selector.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        # A fixed hash seed fixes the iteration order of sets, so that an answer always gets the same verdict.
        environment = {"PYTHONHASHSEED": "0"}
        if "LD_LIBRARY_PATH" in os.environ:  # some builds of Python find their shared library through it
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        bounds = (os.getpid(), int(self.limits.seconds + 0.999) + 1, self.limits.memory_mb * 2**20)
        process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-X", "utf8", "-c", STARTER, ROOT, self.folder, *map(str, bounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        os.set_blocking(process.stdin.fileno(), False)
        self.selector.register(process.stdout, selectors.EVENT_READ)
        self.selector.register(process.stderr, selectors.EVENT_READ)
        return process

    def _greet(self) -> None:
        try:
            greeting = read_tree(self._exchange(b"", START_TIMEOUT))
        except (Stopped, PlainError) as error:
            if self.process.poll() is not None:  # the error message may still be in the pipe
                assert self.process.stderr is not None
                self.printed += os.read(self.process.stderr.fileno(), 65536)
            output = self.printed.decode(errors="replace").strip().splitlines()
            raise SandboxError(f"the sandbox could not be started: {output[-1] if output else error}") from error
        if greeting != {"ready": True}:
            missing = greeting.get("missing") if isinstance(greeting, dict) else greeting
            raise SandboxError(f"this system cannot run the sandbox; missing: {missing}")

    def _exchange(self, outgoing: bytes, seconds: float) -> bytes:
        """Write all of `outgoing` and read one line, while enforcing every limit."""
        checked = time.monotonic()
        deadline = checked + seconds
        stdin = self.process.stdin
        assert stdin is not None
        if outgoing:
            self.selector.register(stdin, selectors.EVENT_WRITE)
        while outgoing or b"\n" not in self.received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Stopped(f"time limit of {self.limits.seconds:g} s")
            ready = self.selector.select(min(left, POLL_INTERVAL))
            if time.monotonic() - checked >= POLL_INTERVAL:
                self._check_folder()
                checked = time.monotonic()
            for key, _ in ready:
                if key.fileobj is stdin:
                    outgoing = outgoing[self._write(outgoing) :]
                    if not outgoing:
                        self.selector.unregister(stdin)
                elif key.fileobj is self.process.stdout:
                    self._receive()
                else:
                    self._listen()
        self._check_folder()
        line, _, self.received = self.received.partition(b"\n")
        return line

    def _write(self, data: bytes) -> int:
        assert self.process.stdin is not None
        try:
            return os.write(self.process.stdin.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise Stopped(self._ending()) from None

    def _receive(self) -> None:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise Stopped(self._ending())
        self.received += data
        if len(self.received) > MAX_LINE:
            raise Stopped("wrote to the result channel")

    def _listen(self) -> None:
        assert self.process.stderr is not None
        data = os.read(self.process.stderr.fileno(), 65536)
        if not data:
            self.selector.unregister(self.process.stderr)
        self.printed += data
        if len(self.printed) > self.limits.output_kb * 1024:
            raise Stopped(f"printed more than {self.limits.output_kb} KB")

    def _check_folder(self) -> None:
        """Enforce the limit of files. Every file counts as at least one page, which limits their number as well."""
        size = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    size += max(entry.stat(follow_symlinks=False).st_size, PAGE)
                if size > self.limits.folder_mb * 2**20:
                    raise Stopped(f"wrote more than {self.limits.folder_mb} MB of files")

    def _ending(self) -> str:
        """Describe how the process ended."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed the result channel"
        if code == -signal.SIGKILL:
            return "killed at its CPU time or memory limit"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@lru_cache(maxsize=1)
def _probe() -> tuple[str, ...]:
    try:
        with Sandbox(Limits(seconds=10)) as sandbox:
            reply = sandbox.ask({"define": PROBE, "function": "breaches", "context": ""})
            if "defined" not in reply:
                return (f"a sandbox that runs ({reply})",)
            found = sandbox.ask({"call": [__file__, os.getpid()]}).get("result")
    except SandboxError as error:
        return (str(error).partition("; missing: ")[2] or str(error),)
    except Stopped as error:
        return (f"a sandbox that runs ({error})",)
    return tuple(map(str, found)) if isinstance(found, list) else ("a sandbox that runs",)


def missing_protections() -> list[str]:
    """The protections that this system lacks; empty if the sandbox can be used. The result is determined by a program
    that tries to break out, once per process."""
    if sys.platform != "linux":
        return [f"Linux (this is {sys.platform})"]
    return list(_probe())

"""A sandbox for code that a model wrote: a fresh Python process, locked down before it reads it.

envs/code/lockdown.py says what the process gives up and envs/code/sandbox_child.py what it answers. This
side keeps the time, counts what is printed and written, and kills. It needs no privileges and no
containers, only a Linux with Landlock and seccomp; where those are missing nothing is run at all.
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
STARTING = 30.0  # seconds that Python may take to start on a busy machine; no program runs yet
WATCH = 0.05  # seconds between two looks at the folder
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
    """The sandbox could not do its work; this says nothing about the program."""


class Stopped(Exception):  # noqa: N818 - it is the program that failed, not this
    """The program ended, or was killed, before it answered; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What one program may use, over all its calls.

    seconds    wall-clock time from when it is read; the same in CPU time, rounded up, plus one
    memory_mb  address space, the interpreter's own 20 MB or so included
    output_kb  printed to standard output and error together
    folder_mb  files in its temporary folder, which is its working directory
    """

    seconds: float = 2.0
    memory_mb: int = 256
    output_kb: int = 64
    folder_mb: int = 16


class Session:
    """One sandboxed process: `with Session(Limits()) as session: session.ask({"define": ..})`.

    Raises:
        SandboxError: it could not be started, or this system lacks a protection.
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

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one message and wait for the answer to it, which a hostile program may have forged.

        Raises:
            Stopped: there was none, within the limits.
        """
        if self.received:
            raise Stopped("wrote on the channel of the results")
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
            raise Stopped("wrote on the channel of the results")
        return answer

    def close(self) -> None:
        """Kill whatever still runs, which is one process at most, and remove its folder."""
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
        # One order of sets in all runs, so that one answer gets one verdict.
        environment = {"PYTHONHASHSEED": "0"}
        if "LD_LIBRARY_PATH" in os.environ:  # some Pythons find their own library by it
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
            greeting = read_tree(self._exchange(b"", STARTING))
        except (Stopped, PlainError) as error:
            said = self.printed.decode(errors="replace").strip().splitlines()
            raise SandboxError(f"the sandbox could not be started: {said[-1] if said else error}") from error
        if greeting != {"ready": True}:
            missing = greeting.get("missing") if isinstance(greeting, dict) else greeting
            raise SandboxError(f"this system cannot run the sandbox; missing: {missing}")

    def _exchange(self, outgoing: bytes, seconds: float) -> bytes:
        """Write all of `outgoing` and read one line, watching every limit meanwhile."""
        deadline = time.monotonic() + seconds
        stdin = self.process.stdin
        assert stdin is not None
        if outgoing:
            self.selector.register(stdin, selectors.EVENT_WRITE)
        while outgoing or b"\n" not in self.received:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Stopped(f"time limit of {self.limits.seconds:g} s")
            ready = self.selector.select(min(left, WATCH))
            if not ready:
                self._watch_folder()
            for key, _ in ready:
                if key.fileobj is stdin:
                    outgoing = outgoing[self._write(outgoing) :]
                    if not outgoing:
                        self.selector.unregister(stdin)
                elif key.fileobj is self.process.stdout:
                    self._receive()
                else:
                    self._listen()
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
            raise Stopped("wrote on the channel of the results")

    def _listen(self) -> None:
        assert self.process.stderr is not None
        data = os.read(self.process.stderr.fileno(), 65536)
        if not data:
            self.selector.unregister(self.process.stderr)
        self.printed += data
        if len(self.printed) > self.limits.output_kb * 1024:
            raise Stopped(f"printed more than {self.limits.output_kb} KB")

    def _watch_folder(self) -> None:
        """Small files count as a page each, so that a great many of them count too."""
        size = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    size += max(entry.stat(follow_symlinks=False).st_size, PAGE)
                if size > self.limits.folder_mb * 2**20:
                    raise Stopped(f"wrote more than {self.limits.folder_mb} MB of files")

    def _ending(self) -> str:
        """How the process ended, in words."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed the channel of the results"
        if code == -signal.SIGKILL:
            return "killed at its limit of CPU time or memory"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@lru_cache(maxsize=1)
def _probe() -> tuple[str, ...]:
    try:
        with Session(Limits(seconds=10)) as session:
            reply = session.ask({"define": PROBE, "function": "breaches", "context": ""})
            if "defined" not in reply:
                return (f"a sandbox that runs ({reply})",)
            found = session.ask({"call": [__file__, os.getpid()]}).get("result")
    except SandboxError as error:
        return (str(error).partition("; missing: ")[2] or str(error),)
    except Stopped as error:
        return (f"a sandbox that runs ({error})",)
    return tuple(map(str, found)) if isinstance(found, list) else ("a sandbox that runs",)


def missing_protections() -> list[str]:
    """What this system lacks to run the sandbox, in words; empty where it has all. Found out once a
    process, by a program that tries to break out."""
    if sys.platform != "linux":
        return [f"Linux (this is {sys.platform})"]
    return list(_probe())

"""Attacks on the sandbox. Each is a program that a model could write, and all must fail."""

import errno
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from envs.code.sandbox import Sandbox, SandboxError, Stopped, missing_protections
from tests.envs.code.sandboxed import FAST, alive, call

ROOT = Path(__file__).parents[3]


def test_this_system_has_every_protection():
    assert missing_protections() == []


def test_a_call_returns_the_result_of_the_function():
    assert call("return [args[0] * 2, 'ä']", 21) == {"result": [42, "ä"]}


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "/proc/1/cmdline", "/dev/tty", "/root", "/home", "/", str(ROOT), __file__],
)
def test_no_file_outside_can_be_read(path):
    body = "return os.listdir(args[0])" if Path(path).is_dir() else "return open(args[0], 'rb').read(10).hex()"
    assert "PermissionError" in call(body, path)["raised"] or not Path(path).exists()


@pytest.mark.parametrize("name", ["mem", "maps", "environ", "cmdline", "auxv", "root", "fd", "task"])
@pytest.mark.parametrize("whose", ["self", "{os.getppid()}", "1"])
def test_proc_tells_nothing_of_any_process(name, whose):
    """Not even of its own: /proc/self/fd and /proc/self/root would lead around the filter of paths."""
    act = "os.listdir" if name in ("root", "fd", "task") else "open"
    assert "Error" in call(f"return str({act}(f'/proc/{whose}/{name}'))")["raised"]


@pytest.mark.parametrize("path", ["../{tail}", "/proc/self/cwd/../{tail}"])
def test_no_other_path_leads_out_of_its_folder(path, tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    tail = os.path.relpath(target, tempfile.gettempdir())
    for act in (f"open({path.format(tail=tail)!r}, 'r+')", f"os.symlink({str(target)!r}, 'mine')"):
        assert "Error" in call(f"{act}\nreturn 'done'")["raised"]
    assert target.read_text() == "kept"


def test_a_library_cannot_be_changed_through_a_memory_map():
    body = """
        import mmap
        file = os.open(args[0], os.O_RDONLY)
        try:
            mmap.mmap(file, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except PermissionError as error:
            shared = str(error)
        private = mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        private[0:4] = b'gone'
        return [shared, private[0:4].decode()]
    """
    path = Path(os.__file__)
    before = path.read_bytes()
    assert call(body, str(path))["result"] == ["[Errno 13] Permission denied", "gone"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "act",
    [
        "open(p, 'w')",
        "open(p, 'a')",
        "os.open(p, os.O_RDONLY | os.O_TRUNC)",
        "os.open(p, 3 | os.O_TRUNC)",
        "os.open(p, 3)",
        "os.truncate(p, 0)",
        "os.unlink(p)",
        "os.rename(p, p + '2')",
        "os.rename(p, 'mine')",
        "os.link(p, 'mine')",
        "os.symlink(p, 'mine')",
        "os.chmod(p, 0)",
        "os.chown(p, 1, 1)",
        "os.utime(p)",
        "os.setxattr(p, 'user.a', b'b')",
        "os.mkdir(p + '2')",
        "os.mkfifo(p + '2')",
        "os.mknod(p + '2')",
    ],
)
def test_nothing_outside_can_be_changed(act, tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    before = target.stat()
    assert "Error" in call(f"p = args[0]\n{act}\nreturn 'done'", str(target))["raised"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"] and target.read_text() == "kept"
    assert (target.stat().st_mode, target.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_the_standard_library_is_readable_but_not_writable():
    path = os.__file__
    assert call("import fractions, heapq\nreturn open(args[0]).read(5)", path) == {"result": Path(path).read_text()[:5]}
    for act in (
        "os.open(args[0], os.O_RDONLY | os.O_TRUNC)",
        "os.open(args[0], 3 | os.O_TRUNC)",
        "open(args[0], 'r+')",
        "os.unlink(args[0])",
    ):
        assert "PermissionError" in call(act, path)["raised"]
    assert Path(path).stat().st_size > 0


def test_its_own_folder_is_writable_and_is_removed():
    reply = call("open('a', 'w').write('b')\nreturn [open('a').read(), os.listdir(), os.getcwd()]")
    text, names, folder = reply["result"]
    assert (text, names) == ("b", ["a"]) and not Path(folder).exists()


@pytest.mark.parametrize(
    "act",
    [
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', args[0]), timeout=1)",
        "socket.getaddrinfo('localhost', 80)",
    ],
)
def test_there_is_no_network(act):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "rror" in call(f"import socket\n{act}\nreturn 'done'", server.getsockname()[1])["raised"]


@pytest.mark.parametrize(
    "act",
    [
        "os.fork()",
        "os.forkpty()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import multiprocessing as m; m.Process(target=print).start()",
        "import threading; threading.Thread(target=print).start()",
        "import ctypes; ctypes.CDLL(None, use_errno=True).syscall(435, 0, 0) < 0 and os.fork()",
    ],
)
def test_no_process_and_no_thread_can_be_started(act):
    assert "rror" in call(f"{act}\nreturn 'done'")["raised"]


def test_a_shell_cannot_be_reached():
    assert call("return os.system('touch escaped')")["result"] != 0


def test_a_fork_bomb_ends_at_its_first_fork():
    assert "PermissionError" in call("while True: os.fork()")["raised"]


@pytest.mark.parametrize(
    "act",
    [
        "os.kill(args[0], 9)",
        "os.kill(args[0], 0)",
        "os.killpg(0, 9)",
        "os.kill(-1, 9)",
        "import signal; signal.pidfd_send_signal(os.pidfd_open(args[0]), 9)",
        "import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, args[0])",
    ],
)
def test_other_processes_cannot_be_signalled(act):
    with subprocess.Popen(["sleep", "30"]) as bystander:
        for pid in (os.getpid(), bystander.pid):
            assert "PermissionError" in call(f"{act}\nreturn 'done'", pid)["raised"]
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize(
    "act",
    [
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        "os.setuid(1)",
        "os.setsid()",
        "os.chroot('.')",
        "os.nice(5)",
        "os.sched_setaffinity(args[0], [0])",
    ],
)
def test_its_limits_and_its_working_directory_cannot_be_changed(act):
    assert "rror" in call(f"import resource\n{act}\nreturn 'done'", os.getpid())["raised"]


# Numbers on x86_64. Known escapes use them to run code in the kernel, in other processes, or past the filter of paths.
SYSTEM_CALLS = {
    "io_uring": (425, 426, 427),
    "ptrace and the memory of other processes": (101, 310, 311, 312, 440),
    "descriptors of other processes": (434, 438),
    "signals to other processes and threads": (62, 129, 200, 234, 297, 424),
    "new processes": (56, 57, 58, 59, 322, 435),
    "name spaces and mounts": (155, 161, 165, 166, 272, 308, 428, 429, 430, 432, 442),
    "bpf, perf, userfaultfd, keys": (321, 298, 323, 248, 249, 250),
    "files by handle or without a path": (304, 319, 437, 447),
    "modules and reboot": (175, 176, 169, 246, 313, 320),
    "System V shared memory and queues": (29, 30, 64, 68),
    "terminals and devices (ioctl)": (16,),
    "sockets": (41, 42, 53),
    "limits and credentials": (105, 106, 117, 160, 302, 157, 203, 126),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64")
@pytest.mark.parametrize("group", SYSTEM_CALLS)
def test_raw_system_calls_are_refused_as_well(group):
    body = """
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        return [[libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno()] for number in args]
    """
    numbers = SYSTEM_CALLS[group]
    assert call(body, *numbers) == {"result": [[-1, errno.EPERM]] * len(numbers)}


@pytest.mark.parametrize(
    ("act", "ending"),
    [
        ("os._exit(0)", "ended with exit code 0"),
        ("os.abort()", "ended by SIG"),
        ("import ctypes; ctypes.string_at(0)", "ended by SIGSEGV"),
        ("os.closerange(0, 100)\nwhile True: pass", "closed the result channel"),
    ],
)
def test_a_program_that_exits_gives_no_result(act, ending):
    with pytest.raises(Stopped, match=ending):
        call(act)


def test_sys_exit_is_only_an_exception():
    assert call("import sys; sys.exit(0)") == {"raised": "raised SystemExit: 0"}


def test_an_exception_that_cannot_be_printed_is_still_reported():
    before = "class E(Exception):\n    def __str__(self): raise self"
    assert call("raise E()", before=before) == {"raised": "raised an exception that cannot be printed"}


def test_the_standard_input_is_empty():
    assert "EOFError" in call("return input()")["raised"]


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    assert call("return dict(os.environ)") == {"result": {"dict": []}}


@pytest.mark.parametrize("junk", ["b'junk\\n'", "b'[1]\\n'", "b'[' * 9000 + b'\\n'", "b'x' * 300_000"])
def test_junk_on_the_result_channel_is_detected(junk):
    with pytest.raises(Stopped, match="wrote to the result channel"):
        call(f"for fd in range(3, 20):\n    try: os.write(fd, {junk})\n    except OSError: pass")


def test_forged_replies_to_later_calls_are_detected():
    body = (
        "for fd in range(3, 20):\n    try: os.write(fd, b'{\"result\": 7}\\n' * 9)\n    except OSError: pass\nreturn 1"
    )
    source = "import os\ndef f():\n" + textwrap.indent(body, "    ")
    with Sandbox(FAST) as sandbox:
        sandbox.ask({"define": source, "function": "f", "context": ""})
        assert sandbox.ask({"call": []}) == {"result": 7}
        with pytest.raises(Stopped, match="wrote to the result channel"):
            sandbox.ask({"call": []})


def test_no_process_and_no_folder_remains():
    with Sandbox(FAST) as sandbox:
        sandbox.ask({"define": "def f():\n    while True: pass", "function": "f", "context": ""})
        pid, folder = sandbox.process.pid, sandbox.folder
        assert alive(pid) and Path(folder).exists()
    assert not alive(pid) and not Path(folder).exists()


def test_the_sandbox_dies_with_its_parent():
    program = (
        "from envs.code.sandbox import *; import time; s = Sandbox(Limits(seconds=60));"
        "s.ask({'define': 'def f():\\n while True: pass', 'function': 'f', 'context': ''});"
        "print(s.process.pid, flush=True); s.ask({'call': []})"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError("it lives on")


def test_a_sandbox_that_cannot_start_raises_a_sandbox_error(monkeypatch):
    monkeypatch.setattr("envs.code.sandbox.STARTER", "raise RuntimeError('no luck')")
    with pytest.raises(SandboxError, match="could not be started: RuntimeError: no luck"):
        Sandbox(FAST)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(SandboxError, match="could not be started"):
        Sandbox(FAST)


@pytest.mark.parametrize(
    ("function", "message"),
    [("_restrict_files", "Landlock (Linux 5.13 or newer)"), ("_restrict_calls", "seccomp filters")],
)
def test_a_missing_protection_is_named_and_no_code_is_run(function, message, monkeypatch):
    starter = (
        "import sys; sys.path.append(sys.argv.pop(1)); import envs.code.lockdown as l\n"
        f"def refuse(*a): raise l.LockdownError({message!r})\n"
        f"l.{function} = refuse\nfrom envs.code.sandbox_child import main; main()"
    )
    monkeypatch.setattr("envs.code.sandbox.STARTER", starter)
    with pytest.raises(SandboxError) as caught:
        Sandbox(FAST)
    assert str(caught.value) == f"this system cannot run the sandbox; missing: {message}"


@pytest.mark.parametrize(
    ("function", "lost"), [("_restrict_files", "reading files"), ("_restrict_calls", "no network")]
)
def test_an_ineffective_protection_is_detected(function, lost, monkeypatch):
    from envs.code.sandbox import _probe

    starter = (
        "import sys; sys.path.append(sys.argv.pop(1)); import envs.code.lockdown as l\n"
        f"l.{function} = lambda *a: None\nimport os; os.execv = None\nfrom envs.code.sandbox_child import main; main()"
    )
    monkeypatch.setattr("envs.code.sandbox.STARTER", starter)
    assert lost in _probe.__wrapped__()

"""Restricts a sandboxed process permanently, with features of the Linux kernel, before it reads any code.

- The process dies with its parent, writes no core dumps, and has limits of CPU time, memory, open files and file size.
- Landlock makes files readable only in the folders of Python's library, and writable only in one flat folder.
- seccomp permits a short list of system calls: no new processes or threads, no sockets, no signals to other processes,
  no changes of owner, mode or limits, no access to other processes.

If the kernel refuses any step, LockdownError is raised; there is no weaker mode. The process can still check whether a
path exists (stat) and read the time.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Sequence

# Numbers of the same system calls on both architectures; calls that do not exist on aarch64 are omitted there.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED = {
    "x86_64": (
        *(0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20),  # read .. writev: files, memory, signals
        *(21, 24, 25, 28, 32, 33, 292, 35, 39, 77, 79, 87, 89, 96, 97, 98),  # access .. getrusage
        *(63, 99, 100, 102, 104, 107, 108, 110, 131, 186, 201, 202, 204),  # uname .. sched_getaffinity
        *(217, 218, 221, 228, 229, 230, 60, 231, 262, 263, 267, 269, 273),  # getdents64 .. set_robust_list
        *(318, 332, 334, 439),  # getrandom, statx, rseq, faccessat2
    ),
    "aarch64": (
        *(63, 64, 57, 79, 80, 62, 222, 226, 215, 214, 134, 135, 139, 67, 68, 65, 66),
        *(124, 216, 233, 23, 24, 101, 172, 46, 17, 169, 163, 165),
        *(160, 179, 153, 174, 176, 175, 177, 173, 132, 178, 98, 123),
        *(61, 96, 223, 113, 114, 115, 93, 94, 35, 78, 48, 99),
        *(278, 291, 293, 439),
    ),
}
OPENAT = {"x86_64": 257, "aarch64": 56}
FCNTL = {"x86_64": 72, "aarch64": 25}
CAPSET = {"x86_64": 126, "aarch64": 91}
FCNTL_COMMANDS = (0, 1, 2, 3, 1030)  # duplicate descriptors, read and set their flags; no locks and no signal owner

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 38, 22, 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
# Rights in the folder: read, write, list, create and remove regular files, and truncate if Landlock supports it.
FOLDER_RIGHTS = READ_FILE | READ_DIR | 1 << 1 | 1 << 5 | 1 << 8
TRUNCATE = 1 << 14
# Landlock ABI version -> number of file access rights that it can restrict.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
OPEN_FILES = 48
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")


class LockdownError(OSError):
    """The kernel did not provide a protection; the message names it."""


def lock_down(folder: str, parent: int, cpu_seconds: int, memory: int, file_size: int) -> None:
    """Restrict this process permanently.

    folder             the only folder in which files can be written
    parent             id of the process with which this one dies
    memory, file_size  limits in bytes

    Raises:
        LockdownError: the kernel did not provide one of the protections.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES:
        raise LockdownError(f"Linux on x86_64 or aarch64 (this is {sys.platform} on {machine})")
    libc = ctypes.CDLL(None, use_errno=True)
    _need(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0, "a signal at the parent's death")
    if os.getppid() != parent:
        os._exit(1)
    _limit(cpu_seconds, memory, file_size)
    _need(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS (Linux 3.5 or newer)")
    _restrict_files(libc, folder)
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _need(libc.syscall(CAPSET[machine], header, none) == 0, "dropping capabilities")
    _restrict_calls(libc, machine)


def _need(ok: bool, what: str) -> None:
    if not ok:
        raise LockdownError(what)


def _limit(cpu_seconds: int, memory: int, file_size: int) -> None:
    """Set hard resource limits. seccomp later blocks the system call that could change them."""
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))


def _restrict_files(libc: ctypes.CDLL, folder: str) -> None:
    """Apply Landlock. If it also supports TCP ports (version 4) or signals and abstract sockets (version 6), they are
    denied as well. Older versions suffice because seccomp denies these too."""
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    _need(version >= 1, "Landlock (Linux 5.13 or newer, with landlock among its security modules)")
    handled = (1 << FILE_RIGHTS.get(version, 16)) - 1
    words = [handled] + [0b11] * (version >= 4) + [0b11] * (version >= 6)
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    _need(ruleset >= 0, "a Landlock rule set")
    _allow(libc, ruleset, folder, FOLDER_RIGHTS | (TRUNCATE if version >= 3 else 0))
    for path in _readable():
        _allow(libc, ruleset, path, READ_FILE | (READ_DIR if os.path.isdir(path) else 0))
    _need(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0, "Landlock over this process")
    os.close(ruleset)


def _readable() -> Sequence[str]:
    """The folders of Python's standard library and of shared libraries."""
    own = [path for path in sys.path if path] + [os.path.join(sys.base_prefix, "lib")]
    return [path for path in dict.fromkeys([*own, *LIBRARIES]) if os.path.exists(path)]


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, descriptor)
    _need(libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0) == 0, f"a Landlock rule for {path}")
    os.close(descriptor)


def _restrict_calls(libc: ctypes.CDLL, machine: str) -> None:
    """Install a seccomp filter: listed system calls are allowed, all others fail with EPERM, and calls of another
    architecture kill the process."""
    program = b"".join(_instructions(machine))
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))
    done = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(filter_), 0, 0) == 0
    _need(done, "seccomp filters (CONFIG_SECCOMP_FILTER)")


def _instructions(machine: str) -> list[bytes]:
    """The BPF program over `struct seccomp_data`: int number, u32 architecture, u64 address, u64 arguments[6]."""
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | 1, 0x80000000

    def load(offset: int) -> bytes:
        return struct.pack("=HBBI", 0x20, 0, 0, offset)

    def answer(value: int) -> bytes:
        return struct.pack("=HBBI", 0x06, 0, 0, value)

    def unless(value: int, skip: int) -> bytes:
        """Skip `skip` instructions unless the loaded word is `value`."""
        return struct.pack("=HBBI", 0x15, 0, skip, value)

    commands = [load(24)] + [step for c in FCNTL_COMMANDS for step in (unless(c, 1), answer(allow))] + [answer(refuse)]
    # Opening a file with O_TRUNC empties it. The first versions of Landlock do not prevent it if the access mode is
    # that of reading, or 3, for which they ask for no right at all.
    mask = struct.pack("=HBBI", 0x54, 0, 0, os.O_TRUNC | os.O_ACCMODE)
    refused = (os.O_TRUNC, os.O_ACCMODE, os.O_TRUNC | os.O_ACCMODE)
    opening = [load(32), mask, *(step for f in refused for step in (unless(f, 1), answer(refuse))), answer(allow)]
    return [
        load(4),
        struct.pack("=HBBI", 0x15, 1, 0, ARCHITECTURES[machine]),
        answer(kill),
        load(0),
        *(unless(FCNTL[machine], len(commands)), *commands),
        *(unless(OPENAT[machine], len(opening)), *opening),
        *(step for number in ALLOWED[machine] for step in (unless(number, 1), answer(allow))),
        answer(refuse),
    ]

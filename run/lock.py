"""A folder that one process writes at a time."""

import errno
import fcntl
import os
import socket
import sys
from pathlib import Path
from typing import TextIO


class FolderInUse(BlockingIOError):  # noqa: N818 - reads as a state
    """Another process writes this folder; the message names its host and its process number."""


def is_locked(folder: Path, name: str = ".lock") -> bool:
    """Whether another process holds the lock of a folder. If this user may not tell, it counts as locked."""
    try:
        with (folder / name).open("r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def lock(folder: Path, instead: str, name: str = ".lock") -> TextIO:
    """Create the folder, and keep other processes from locking it until the returned file is closed.

    It is a POSIX record lock. It belongs to this process, so that its death releases the lock, however it dies, and
    child processes that survive it do not hold the lock. On NFS the lock is that of the server (NFSv4, or NFSv3 with
    lockd), for all machines; if a machine crashes, the server releases its locks once their lease ends, after 90 s by
    default. A file system without locks is used without one, with a warning.

    instead  what the user can do instead of waiting
    name     of the lock file, in which the owner writes its host and process number

    Raises:
        FolderInUse: another process holds the lock.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / name).open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise FolderInUse(f"{folder} is in use by {owner}; wait until it ends, stop it, or {instead}") from error
        print(f"warning: {folder} is on a file system without locks; never start a run twice there", file=sys.stderr)
        return file
    file.truncate(0)
    file.write(f"{socket.gethostname()} pid {os.getpid()}\n")
    file.flush()
    return file

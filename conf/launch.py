"""Start an entry point, and report errors that the user can correct in one line: exit code 2 if nothing was started, 1
afterwards, and 130 if a second Ctrl-C or SIGTERM ended it at once."""

import dataclasses
import difflib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from envs.printable import printable

Settings = TypeVar("Settings")


def launch(main: Callable[[], None], schema: type) -> None:
    """Run a Hydra main. If its settings do not compose, print a one-line error and exit with code 2.

    schema is the dataclass of all settings; it lists the allowed keys when a key is unknown.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise instead of printing its own traceback
    try:
        with explaining_errors():  # Hydra writes too
            main()
    except (HydraException, OmegaConfBaseException) as error:
        refuse(one_line(error, schema))


@contextmanager
def explaining_errors() -> Iterator[None]:
    """If the body fails because a file cannot be written, print a one-line error and exit with code 1; if a second
    Ctrl-C or SIGTERM ends it at once, say so and exit with code 130.

    Hydra prints a line of its own if another exception than SystemExit leaves its main, so it is also used inside."""
    try:
        yield
    except KeyboardInterrupt:
        print("stopped at once; the same command continues from what has been written", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        if (message := disk_error(error)) is None:
            raise
        raise SystemExit(f"error: {message}") from error


FULL, READ_ONLY, MISPLACED, TOO_LONG, FAILING = (
    "free disk space, or set checkpoint.keep=1, and run the same command again, which resumes from the last checkpoint",
    "make it writable, or replace outputs by a link to a folder that is: ln -s /data/outputs outputs",
    "a file is where a folder should be, or a folder where a file should be; move it away",
    "choose shorter names; one may have 255 bytes, and a path 4,096",
    "check the disk or the network file system, and run the same command again",
)
DISK_ERRORS = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EACCES: READ_ONLY,
    errno.EPERM: READ_ONLY,
    errno.EROFS: READ_ONLY,
    errno.ENOTDIR: MISPLACED,
    errno.EISDIR: MISPLACED,
    errno.EEXIST: MISPLACED,
    errno.ENAMETOOLONG: TOO_LONG,
    errno.EIO: FAILING,
    errno.ESTALE: FAILING,
}


def disk_error(error: Exception) -> str | None:
    """What is wrong with the disk and what to do, in one line; None for another kind of error. A worker's error is
    recognized by its text, since libraries that write checkpoints replace the operating system's errors."""
    if isinstance(error, BlockingIOError):  # of run/lock.py
        return str(error)
    if isinstance(error, OSError) and error.filename is not None and error.errno in DISK_ERRORS:
        return f"{error.filename}: {os.strerror(error.errno)}; {DISK_ERRORS[error.errno]}"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        if os.strerror(number) in str(error):
            return f"a file could not be written: {os.strerror(number)}; {DISK_ERRORS[number]}"
    return None


@contextmanager
def checking_settings() -> Iterator[None]:
    """Treat a ValueError in the body, and a file that cannot be written, as a user error: print it in one line and
    exit with code 2."""
    try:
        yield
    except OSError as error:
        if (message := disk_error(error)) is None:
            raise
        refuse(message)
    except ValueError as error:
        refuse(" ".join(str(error).split()))


def settings_of(raw: DictConfig, schema: type[Settings]) -> Settings:
    """The composed settings as the dataclass `schema`.

    Raises:
        ValueError: a value is missing or not allowed, or `+key=value` added a key that no dataclass has (Hydra composes
            such a key, and nothing would read it), or `env=../model/tiny` chose a file that is not that of a task.
    """
    _refuse_added_keys(raw, "")
    try:
        cfg = OmegaConf.to_object(raw)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} has no value; set it with {error.full_key}=VALUE") from error
    assert isinstance(cfg, schema)
    if isinstance(getattr(cfg, "env", None), dict):  # the tasks share no dataclass with which Hydra would compare it
        raise ValueError("env: not a task; give the name of a file in conf/env/, without .yaml")
    return cfg


def _refuse_added_keys(node: DictConfig, prefix: str) -> None:
    """Dictionaries, such as reward.weights, may have any keys; dataclasses have those of their fields."""
    fields = getattr(node._metadata.object_type, "__dataclass_fields__", None)
    for key in map(str, node):
        if fields is not None and key not in fields:
            raise ValueError(_unknown_key(f"{prefix}{key}", node._metadata.object_type))
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _refuse_added_keys(child, f"{prefix}{key}.")


def refuse(message: str) -> NoReturn:
    """Print the error and exit with code 2."""
    print(f"error: {printable(message)}", file=sys.stderr)
    raise SystemExit(2)


def one_line(error: Exception, schema: type) -> str:
    """Shorten a Hydra or OmegaConf error to one line with the key, its value and what is allowed."""
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not a valid Hydra override; quote values with special characters, as in key='a=b'"
    text = str(error)
    cause = f" {error.__cause__}" if error.__cause__ else ""
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(unknown[1], _find_node(unknown[1], schema))
    if option := re.search(r"Could not find '(.+)/([^'/]+)'", text):
        available = text.rsplit("Available options", maxsplit=1)[-1].split("Config search path", maxsplit=1)[0]
        options = re.findall(r"^\t(\S+)(?<!_schema)$", available, re.MULTILINE)
        return f"{option[1]}={option[2]}: unknown; allowed are {', '.join(options)}"
    if override := re.search(r"Error merging override (.+)", text):
        return f"{override[1]}: {cause.strip().splitlines()[0]}"
    return " ".join(text.split())


def _find_node(key: str, schema: type) -> type | None:
    """The dataclass that should have the last part of a dotted key; None if it is not known."""
    node: object = schema
    for parent in key.split(".")[:-1]:
        node = {f.name: f.type for f in dataclasses.fields(node)}.get(parent)  # type: ignore[arg-type]
        if not dataclasses.is_dataclass(node):
            return None
    return node  # type: ignore[return-value]


def _unknown_key(key: str, node: type | None) -> str:
    """The error for an unknown key of the dataclass `node`: the closest key, then all keys of the same group."""
    if node is None:
        return f"{key}: unknown key"
    names = [field.name for field in dataclasses.fields(node)]
    close = difflib.get_close_matches(key.rpartition(".")[2], names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}: unknown key{guess}; allowed keys are {', '.join(names)}"

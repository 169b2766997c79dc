"""Start an entry point with Hydra and report a configuration error in one line."""

import dataclasses
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


def launch(main: Callable[[], None], schema: type) -> None:
    """Run a Hydra main. If its settings do not compose, print a one-line error and exit with code 2.

    schema is the dataclass of all settings; it lists the allowed keys when a key is unknown.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise instead of printing its own traceback
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        refuse(one_line(error, schema))


@contextmanager
def checking_settings() -> Iterator[None]:
    """Treat a ValueError in the body as a user error: print it in one line and exit with code 2."""
    try:
        yield
    except ValueError as error:
        refuse(" ".join(str(error).split()))


def refuse(message: str) -> NoReturn:
    """Print the error and exit with code 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def one_line(error: Exception, schema: type) -> str:
    """Shorten a Hydra or OmegaConf error to one line with the key, its value and what is allowed."""
    text = str(error)
    cause = f" {error.__cause__}" if error.__cause__ else ""
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(unknown[1], schema)
    if option := re.search(r"Could not find '(.+)/([^'/]+)'", text):
        available = text.rsplit("Available options", maxsplit=1)[-1].split("Config search path", maxsplit=1)[0]
        options = re.findall(r"^\t(\S+)(?<!_schema)$", available, re.MULTILINE)
        return f"{option[1]}={option[2]}: unknown; allowed are {', '.join(options)}"
    if override := re.search(r"Error merging override (.+)", text):
        return f"{override[1]}: {cause.strip().splitlines()[0]}"
    return " ".join(text.split())


def _unknown_key(key: str, schema: type) -> str:
    """The error for an unknown key: the closest key, then all keys of the same group."""
    node: object = schema
    *parents, last = key.split(".")
    for parent in parents:
        node = {f.name: f.type for f in dataclasses.fields(node)}.get(parent)  # type: ignore[arg-type]
        if not dataclasses.is_dataclass(node):
            return f"{key}: unknown key"
    names = [field.name for field in dataclasses.fields(node)]  # type: ignore[arg-type]
    close = difflib.get_close_matches(last, names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}: unknown key{guess}; allowed keys are {', '.join(names)}"

"""Starting an entry point: Hydra composes, and what is wrong with a setting is said in one line."""

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
    """Run a Hydra main; settings that do not compose end it with one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, instead of printing a trace of its own
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        refuse(one_line(error, schema))


@contextmanager
def checking_settings() -> Iterator[None]:
    """Around what checks settings: a ValueError is the user's, and is said in one line."""
    try:
        yield
    except ValueError as error:
        refuse(" ".join(str(error).split()))


def refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def one_line(error: Exception, schema: type) -> str:
    """The error with its key, value and what is allowed."""
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
    """Name the keys beside an unknown one, the likely one first."""
    node: object = schema
    *parents, last = key.split(".")
    for parent in parents:
        node = {f.name: f.type for f in dataclasses.fields(node)}.get(parent)  # type: ignore[arg-type]
        if not dataclasses.is_dataclass(node):
            return f"{key}: unknown key"
    names = [field.name for field in dataclasses.fields(node)]  # type: ignore[arg-type]
    close = difflib.get_close_matches(last, names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    return f"{key}: unknown key{guess}; allowed here are {', '.join(names)}"

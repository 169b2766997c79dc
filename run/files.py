"""Files that are either complete or absent, and one-line errors for those that something else damaged."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


def replace_text(path: Path, pieces: Iterable[str]) -> str:
    """Write a text file under a temporary name, sync it and rename it, and return its SHA-256.

    Raises:
        OSError: the file cannot be written; an earlier version of it remains.
    """
    sha256 = hashlib.sha256()
    temporary = path.with_name(f".writing_{path.name}")
    try:
        with naming(path), temporary.open("w", encoding="utf-8", newline="\n") as file:
            for piece in pieces:
                file.write(piece)
                sha256.update(piece.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it would take the space that others need
        raise
    return sha256.hexdigest()


def replace_json(path: Path, content: object) -> None:
    """`replace_text` for an object as indented JSON."""
    replace_text(path, [json.dumps(content, indent=2) + "\n"])


def replace_rows(path: Path, rows: Iterable[Mapping[str, Any]], ensure_ascii: bool = True) -> str:
    """`replace_text` for rows as a JSONL file."""
    return replace_text(path, (json.dumps(row, ensure_ascii=ensure_ascii) + "\n" for row in rows))


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a JSONL file. If this fails or the process dies, the last line may be incomplete; readers skip
    it."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def read_json(path: Path, do: str) -> dict[str, Any]:
    """Read a file that holds a JSON object. `do` tells the user what to do if it does not.

    Raises:
        ValueError: the file is empty or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    return _mapping(path, content, do)


def read_yaml(path: Path, do: str) -> dict[str, Any]:
    """`read_json` for a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        content = None
    return _mapping(path, content, do)


def _mapping(path: Path, content: object, do: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{path} is empty or damaged; {do}")
    return content


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of the body the name of the file. Errors of `write`, such as that of a full disk, have none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise

"""Files that are either complete or absent, and one-line errors for those that something else damaged."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


class DamagedFile(ValueError):  # noqa: N818 - reads as a state
    """A file that this project wrote is missing, empty or changed; the message names it and tells what to do."""


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


def read_json(path: Path, do: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """Read a file that holds a JSON object with at least these keys. `do` tells the user what to do if it does not.

    Raises:
        DamagedFile: the file is missing, empty or damaged.
    """
    return _mapping(path, _read(path, json.loads, do), do, keys)


def read_yaml(path: Path, do: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """`read_json` for a YAML file."""
    return _mapping(path, _read(path, yaml.safe_load, do), do, keys)


def read_rows(path: Path, keys: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file, skipping a last line that was cut short by a crash.

    Raises:
        DamagedFile: the file is missing, or another line is not an object with these keys.
    """
    if not path.is_file():
        raise DamagedFile(f"{path} is missing; run the command that writes it again")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield _mapping(f"{path}:{number}", row, "remove this line, and run the command again", keys)


def _read(path: Path, parse: Callable[[str], object], do: str) -> object:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedFile(f"{path} is missing; {do}") from error
    except (ValueError, RecursionError, yaml.YAMLError):
        return None


def _mapping(where: object, content: object, do: str, keys: Collection[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DamagedFile(f"{where} is empty or damaged; {do}")
    for key in keys:
        if key not in content:
            raise DamagedFile(f"{where} has no {key}; {do}")
    return content


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of the body the name of the file. Errors of `write`, such as that of a full disk, have none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest path suffixes that distinguish the paths: "x" and "y", or "a/x" and "b/x"."""
    parts = [path.resolve().parts for path in paths]
    length = 1
    while len({p[-length:] for p in parts}) < len(set(parts)):
        length += 1
    return ["/".join(p[-length:]) for p in parts]


def empty_folder(folder: Path, *marks: str) -> None:
    """Create a folder, or remove what an earlier command has left in it, recognized by one of the names `marks`.

    Raises:
        ValueError: it holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not any((folder / mark).exists() for mark in marks):
            raise ValueError(f"--output={folder} holds other files, which would be removed; choose another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)

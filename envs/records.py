"""Loads the records of a dataset from a JSONL or parquet file or from the Hub."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from envs.printable import printable

T = TypeVar("T")
MAX_NAMED = 10  # malformed records listed in a message
log = logging.getLogger(__name__)


def read_file(path: Path, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Apply `read` to every record of a .jsonl or .parquet file. Records for which it raises a ValueError are
    skipped; a warning gives their number, lines and errors.

    Raises:
        ValueError: the file does not exist, or has no readable record.
    """
    if not path.is_file():
        raise ValueError(f"env.path: there is no file {path}")
    return _read_all(str(path), file_records(path), read)


def read_hub(name: str, config: str | None, split: str, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Apply `read` to every record of a split of a dataset on the Hub, like `read_file`.

    Raises:
        ValueError: the dataset could not be loaded, or has no readable record.
    """
    return _read_all(f"{name} {split}", hub_records(name, config, split), read)


def file_records(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield (line or row number, record) of a .jsonl or .parquet file, with an error message in place of a malformed
    record."""
    return _parquet(path) if path.suffix == ".parquet" else _jsonl(path)


def hub_records(name: str, config: str | None, split: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (row number, record) of a split of a dataset on the Hub, or in a folder that `datasets` loads.

    Raises:
        ValueError: the dataset could not be loaded.
    """
    from datasets import load_dataset  # takes 2 s to import

    try:
        yield from enumerate(load_dataset(name, config, split=split), start=1)
    except Exception as error:  # noqa: BLE001 - every kind of failure has the same remedy
        cause: BaseException = error
        while cause.__cause__ is not None:  # such as that of a damaged file among those of a folder
            cause = cause.__cause__
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ValueError(
            f"dataset {name} could not be loaded ({reason}); give the path of a local copy instead"
        ) from error


def _jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield (line number, record), with an error message in place of a malformed record."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            yield number, f"contains {half!a}, which is half of a character and cannot be encoded as UTF-8"
            continue
        except (ValueError, RecursionError):  # ValueError includes UnicodeDecodeError
            yield number, "not JSON"
            continue
        yield number, record if isinstance(record, dict) else "not a JSON object"


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:  # OSError: its pages are damaged
        raise ValueError(f"{path} is not a parquet file, or is damaged ({error})") from error


def _read_all(
    name: str, records: Iterable[tuple[int, Mapping[str, Any] | str]], read: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    found: list[T] = []
    malformed: list[str] = []
    for number, record in records:
        if isinstance(record, str):
            malformed.append(f"line {number}: {record}")
            continue
        try:
            found.append(read(record))
        except ValueError as error:
            malformed.append(f"line {number}: {error}")
    named = printable("; ".join(malformed[:MAX_NAMED])) + ("; ..." if len(malformed) > MAX_NAMED else "")
    if not found:
        raise ValueError(f"{name}: no record could be read" + (f" ({named})" if named else ""))
    if malformed:
        log.warning("%s: skipped %d of %d records: %s", name, len(malformed), len(malformed) + len(found), named)
    return found

"""Records of a data set, from a JSONL or parquet file or from the Hub, each read by its task."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
NAMED = 10
log = logging.getLogger(__name__)


def read_file(path: Path, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Every record of a .jsonl or .parquet file through `read`, whose ValueError says what is wrong
    with one. Malformed lines are left out, counted and named.

    Raises:
        ValueError: no such file, or not one line of it could be read.
    """
    if not path.is_file():
        raise ValueError(f"env.path: there is no file {path}")
    return _read_all(str(path), _parquet(path) if path.suffix == ".parquet" else _jsonl(path), read)


def read_hub(name: str, config: str | None, split: str, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Every record of a split of a data set on the Hub, through `read` as above.

    Raises:
        ValueError: the Hub could not give it.
    """
    from datasets import load_dataset  # 2 s that only the Hub should cost

    try:
        rows = load_dataset(name, config, split=split)
    except Exception as error:  # noqa: BLE001 - many kinds of failure, one remedy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the Hub could not give data set {name} now ({reason}); give env.path=FOLDER") from error
    return _read_all(f"{name} {split}", enumerate(rows, start=1), read)


def _jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """(line number, record); in place of a record that is none, what is wrong with it."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:  # UnicodeDecodeError is one too
            yield number, "not JSON"
            continue
        yield number, record if isinstance(record, dict) else "not a JSON object"


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow.parquet as parquet

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches():
        for record in batch.to_pylist():
            number += 1
            yield number, record


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
    named = "; ".join(malformed[:NAMED]) + ("; ..." if len(malformed) > NAMED else "")
    if not found:
        raise ValueError(f"{name}: not one record could be read" + (f" ({named})" if named else ""))
    if malformed:
        log.warning("%s: %d of %d lines left out: %s", name, len(malformed), len(malformed) + len(found), named)
    return found

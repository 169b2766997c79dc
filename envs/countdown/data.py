"""Countdown problems from a data set, and the canonical form that keeps its splits apart.

The public Countdown-Tasks-3to4 has 490,364 rows, of which 8% are others with their numbers in
another order, so neither its rows nor their positions may decide what is held out.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from envs.records import read_file, read_hub
from envs.splits import split_of

Row = tuple[tuple[int, ...], int]


@lru_cache(maxsize=2)
def load_countdown(source: str, num_numbers: tuple[int, ...]) -> Mapping[str, tuple[Row, ...]]:
    """(numbers, target) by split, each problem once, of those with so many numbers.

    Raises:
        ValueError: the file or data set can't be read, or holds none of these.
    """
    is_file = Path(source).suffix in (".parquet", ".jsonl")
    rows = read_file(Path(source), _read) if is_file else read_hub(source, None, "train", _read)
    unique = {(sorted_text(numbers), target): (numbers, target) for numbers, target in reversed(rows)}
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for numbers, target in reversed(unique.values()):
        if len(numbers) in num_numbers:
            splits[split_of(sorted_text(numbers))].append((numbers, target))
    if not splits["train"] or not splits["test"]:
        raise ValueError(f"env.data={source}: no problems with env.num_numbers={list(num_numbers)} for both splits")
    return {split: tuple(rows) for split, rows in splits.items()}


def sorted_text(numbers: Sequence[int]) -> str:
    """The canonical form of the numbers: sorted, so that no order of them leaks."""
    return " ".join(map(str, sorted(numbers)))


def _read(fields: Mapping[str, Any]) -> Row:
    numbers, target = fields.get("nums"), fields.get("target")
    if not isinstance(numbers, list) or len(numbers) < 2 or not all(type(n) is int for n in [*numbers, target]):
        raise ValueError("fields nums and target must be a list of whole numbers and a whole number")
    return tuple(numbers), int(target or 0)

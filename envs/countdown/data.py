"""Loads countdown problems from a dataset and splits them by their canonical form.

Of the 490,364 rows of the public Countdown-Tasks-3to4, 8% repeat another row with its numbers in another order.
The split therefore depends on the sorted numbers, not on the row or its index.
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
    """All (numbers, target) of each split whose count of numbers is in `num_numbers`, each problem once.

    Raises:
        ValueError: the dataset cannot be read, or a split has no such problem.
    """
    is_file = Path(source).suffix in (".parquet", ".jsonl")
    rows = read_file(Path(source), _read) if is_file else read_hub(source, None, "train", _read)
    unique = {(sorted_text(numbers), target): (numbers, target) for numbers, target in reversed(rows)}
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for numbers, target in reversed(unique.values()):
        if len(numbers) in num_numbers:
            splits[split_of(sorted_text(numbers))].append((numbers, target))
    if not splits["train"] or not splits["test"]:
        raise ValueError(
            f"env.data={source}: no problems with env.num_numbers={list(num_numbers)} for at least one split; "
            "choose other sizes or a larger dataset"
        )
    return {split: tuple(rows) for split, rows in splits.items()}


def sorted_text(numbers: Sequence[int]) -> str:
    """The canonical form of the numbers: sorted, so that reordered numbers are in the same split."""
    return " ".join(map(str, sorted(numbers)))


def _read(fields: Mapping[str, Any]) -> Row:
    numbers, target = fields.get("nums"), fields.get("target")
    if not isinstance(numbers, list) or len(numbers) < 2 or not all(type(n) is int for n in [*numbers, target]):
        raise ValueError("field nums must be a list of at least 2 integers, and field target an integer")
    return tuple(numbers), int(target or 0)

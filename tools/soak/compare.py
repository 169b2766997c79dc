"""Whether a disturbed run computed and recorded what an undisturbed run does."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from run.folder import RunFolder
from tools.same_runs import VARYING

Rows = Sequence[Mapping[str, Any]]


def differences(found: RunFolder, expected: RunFolder) -> Iterator[str]:
    """What differs between two finished runs: their final weights, and the rows of metrics.jsonl and samples.jsonl,
    except for times, memory and cost."""
    ours, theirs = (json.loads(folder.summary.read_text(encoding="utf-8")) for folder in (found, expected))
    if ours["weights_sha256"] != theirs["weights_sha256"]:
        yield f"final weights {ours['weights_sha256'][:12]} instead of {theirs['weights_sha256'][:12]}"
    for name in ("metrics", "samples"):
        yield from row_differences(rows_of(getattr(found, name)), rows_of(getattr(expected, name)), name)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """All lines of a JSONL file; raises ValueError if one of them is not JSON, the last one included."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def row_differences(found: Rows, expected: Rows, name: str) -> Iterator[str]:
    """The rows that are lost or doubled; if there are none, the first value that differs."""
    ours, theirs = Counter(map(identity, found)), Counter(map(identity, expected))
    for each in sorted(ours.keys() | theirs.keys()):
        if ours[each] != theirs[each]:
            change = "lost" if ours[each] < theirs[each] else "doubled"
            yield f"{name}: {' '.join(filter(None, each))} {change} ({ours[each]} rows instead of {theirs[each]})"
    if ours != theirs:
        return
    for row, other in zip(found, expected, strict=True):
        for key in sorted(row.keys() | other.keys()):
            if not key.startswith(VARYING) and row.get(key) != other.get(key):
                yield f"{name}: step {row['step']}: {key} {row.get(key)} instead of {other.get(key)}"
                return


def identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What makes a row the same one: its step, and in samples.jsonl its kind and its problem."""
    return f"step {row['step']:06d}", row.get("kind", ""), row.get("key", "")

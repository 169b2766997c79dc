"""Select the completions shown in the report, and annotate them with what was found in them."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report.data import RecordedRun, json_lines, parse_line
from report.spans import Span, read_spans

MAX_ROWS = 2000
MAX_BYTES = 4_000_000
MAX_TEXT = 20_000  # characters of a completion or a prompt in the table of samples
STAGE_TEXT = 6_000  # the same in the before-and-after view
STAGE_PROBLEMS = 6  # in the before-and-after view, over all runs


@dataclass(frozen=True, slots=True)
class Entry:
    """The byte offset of a sample in samples.jsonl, and the fields used to select samples."""

    offset: int
    step: int
    kind: str
    key: str
    correct: bool
    size: int = 0  # approximate bytes on the page: those of the line, minus truncated text


def read_entries(run: RecordedRun) -> list[Entry]:
    """Index the samples of a run. Only the samples that are selected later are kept in memory."""
    entries, lines, invalid = [], 0, 0
    for offset, size, row in json_lines(run.folder.samples):
        lines += 1
        if row is None or not isinstance(row.get("completion"), str):
            invalid += 1
        else:
            correct = row.get("correct") is True
            cut = max(0, len(row["completion"]) - MAX_TEXT)
            kind, key = sys.intern(str(row.get("kind"))), sys.intern(str(row.get("key")))  # evaluations repeat them
            entries.append(Entry(offset, row["step"], kind, key, correct, size - cut))
    if invalid:
        run.notes.append(f"samples.jsonl: skipped {invalid} of {lines} lines that could not be parsed")
    return entries


Strata = Sequence[Sequence[Entry]]


def stratify(entries: Sequence[Entry]) -> Strata:
    """The entries of each (step, kind), in this order."""
    strata: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        strata.setdefault((entry.step, entry.kind), []).append(entry)
    return [strata[name] for name in sorted(strata)]


def choose(strata: Strata, limit: int) -> list[Entry]:
    """Select at most `limit` entries in file order, distributed evenly over (step, kind).

    Of each (step, kind) the first entries are kept, so that all evaluations show the same problems."""
    if len(strata) > limit:
        strata = [strata[i * (len(strata) - 1) // max(1, limit - 1)] for i in range(limit)]  # the last one, too
    quota = fair_quota([len(stratum) for stratum in strata], limit)
    return sorted((entry for stratum in strata for entry in stratum[:quota]), key=lambda entry: entry.offset)


def fair_quota(sizes: Iterable[int], limit: int) -> int:
    """The largest q with sum(min(size, q)) <= limit: the number of entries that each stratum may keep."""
    quota, left = 0, limit
    waiting = sorted(sizes)
    while waiting:
        share = left // len(waiting)
        if waiting[0] > share:
            return max(quota, share)
        quota = waiting.pop(0)
        left -= quota
    return quota


def embed(
    runs: Sequence[RecordedRun], entries: Sequence[Sequence[Entry]], rows: int, size: int
) -> list[dict[str, Any]]:
    """The samples of all runs for the page: at most `rows` samples and about `size` bytes of JSON."""
    limit, strata = max(1, rows // len(runs)), [stratify(index) for index in entries]

    def chosen() -> list[list[Entry]]:
        return [choose(each, limit) for each in strata]

    # Reduce by the sizes in the file first, because annotating completions takes seconds per megabyte.
    while limit > 1 and (stored := sum(entry.size for selection in chosen() for entry in selection)) > size:
        limit = max(1, math.floor(0.95 * limit * size / stored))
    read: dict[tuple[int, int], dict[str, Any]] = {}
    while True:
        for index, (run, selection) in enumerate(zip(runs, chosen(), strict=True)):
            unread = [entry for entry in selection if (index, entry.offset) not in read]
            for entry, row in read_chosen(run.folder.samples, unread):
                read[index, entry.offset] = {"run": index, **page_row(row, MAX_TEXT)}
        keys = [(index, entry.offset) for index, selection in enumerate(chosen()) for entry in selection]
        shown = [read[key] for key in keys if key in read]
        measured = len(json.dumps(shown))
        if measured <= size or limit == 1:
            return shown
        limit = max(1, math.floor(0.95 * limit * size / measured))


def read_chosen(path: Path, chosen: Sequence[Entry]) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Yield the rows of these entries, except those that a resumed run has removed in the meantime."""
    if not chosen:
        return
    with path.open("rb") as file:
        for entry in chosen:
            file.seek(entry.offset)
            row = parse_line(file.readline())
            if row is not None and row["step"] == entry.step and isinstance(row.get("completion"), str):
                yield entry, row


def page_row(row: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """A sample as a JSON value for the page, with texts truncated to `longest` characters.

    `parts` splits the completion into [span kind, text] pairs, since string offsets differ between Python and
    JavaScript."""
    completion, prompt = row["completion"], str(row.get("prompt", ""))
    components, behaviors, tries = row.get("components"), row.get("behaviors"), row.get("tries")
    return {
        "step": row["step"],
        "kind": str(row.get("kind")),
        "key": str(row.get("key")),
        "prompt": prompt[:longest],
        "parts": _parts(row, completion[:longest]),
        "cut": max(0, len(completion) - longest),
        "correct": row.get("correct") is True,
        "reward": row.get("reward"),
        "components": components if isinstance(components, dict) else {},
        "reason": str(row.get("reason") or ""),
        "answer": str(row["answer"]) if row.get("answer") is not None else "",
        "tokens": row.get("tokens"),
        "truncated": row.get("truncated") is True,
        "tries": tries if isinstance(tries, int) else None,
        "behaviors": [str(name) for name in behaviors] if isinstance(behaviors, list) else [],
    }


def _parts(row: Mapping[str, Any], text: str) -> list[list[str]]:
    """The text as [span kind, text] pairs; text outside of spans has the kind ""."""
    parts, done = [], 0
    for span in _spans(row, text):
        parts += [["", text[done : span.start]], [span.kind, text[span.start : span.end]]]
        done = span.end
    return [part for part in [*parts, ["", text[done:]]] if part[1]]


def _spans(row: Mapping[str, Any], text: str) -> list[Span]:
    """The spans of a completion; an empty list if the row lacks its task or has invalid fields."""
    fields = row.get("fields")
    if not isinstance(fields, dict):
        return []
    try:
        return read_spans(fields, text)
    except (KeyError, TypeError, ValueError):
        return []  # an invalid row must not prevent the report


def stages(run: RecordedRun, entries: Sequence[Entry], problems: int) -> dict[str, Any]:
    """Up to `problems` held-out problems that were failed in the first evaluation and solved in the last, with their
    completions at three steps: the first evaluation, one in between, and the last.

    The evaluation in between is the one closest to the first aha event or, without an event, the middle one."""
    steps = sorted({entry.step for entry in entries if entry.kind == "eval"})
    if len(steps) < 2:
        return {"steps": [], "problems": []}
    shown = [steps[0], *_between(run, steps[1:-1]), steps[-1]]
    found: dict[int, dict[str, Entry]] = {step: {} for step in shown}
    for entry in entries:
        if entry.kind == "eval" and entry.step in found:
            found[entry.step][entry.key] = entry
    first, last = found[shown[0]], found[shown[-1]]
    learned = [key for key in first if key in last and last[key].correct and not first[key].correct]
    learned.sort(key=lambda key: sum(key not in at for at in found.values()))  # present in all evaluations first

    def completion_at(step: int, key: str) -> dict[str, Any] | None:
        entries = [found[step][key]] if key in found[step] else []
        return next((page_row(row, STAGE_TEXT) for _, row in read_chosen(run.folder.samples, entries)), None)

    rows = [[completion_at(step, key) for step in shown] for key in learned[:problems]]
    return {"steps": shown, "problems": [row for row in rows if any(row)]}


def _between(run: RecordedRun, steps: Sequence[int]) -> list[int]:
    if not steps:
        return []
    aha = [event["step"] for event in run.events if event["kind"] == "aha"]
    return [min(steps, key=lambda step: abs(step - aha[0])) if aha else steps[len(steps) // 2]]

"""Which completions go into the page, with what was found in them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report.data import Run, json_lines, parse_line
from report.spans import Span, read_spans

MAX_ROWS = 2000
MAX_BYTES = 4_000_000
MAX_TEXT = 20_000  # characters of a completion or a prompt
STAGE_TEXT = 6_000
STAGE_PROBLEMS = 6


@dataclass(frozen=True)
class Entry:
    """Where a sample lies in samples.jsonl, and what choosing needs to know of it."""

    offset: int
    step: int
    kind: str
    key: str
    correct: bool
    size: int = 0  # bytes on the page, about: those of its line, but for texts that are cut


def read_entries(run: Run) -> list[Entry]:
    """An index of the samples; only those that are chosen are read whole."""
    entries, lines, broken = [], 0, 0
    for offset, size, row in json_lines(run.folder.samples):
        lines += 1
        if row is None or not isinstance(row.get("completion"), str):
            broken += 1
        else:
            correct = row.get("correct") is True
            cut = max(0, len(row["completion"]) - MAX_TEXT)
            entries.append(Entry(offset, row["step"], str(row.get("kind")), str(row.get("key")), correct, size - cut))
    if broken:
        run.notes.append(f"samples.jsonl: {broken} of {lines} lines could not be read and were left out")
    return entries


def choose(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """At most `limit` entries, the same number of each (step, kind) as far as they go, in order.

    The first of an evaluation are kept, so that the same problems are there at every step."""
    lots: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        lots.setdefault((entry.step, entry.kind), []).append(entry)
    if len(lots) > limit:
        names = sorted(lots)
        lots = {names[i * len(names) // limit]: lots[names[i * len(names) // limit]] for i in range(limit)}
    quota = fair_quota([len(lot) for lot in lots.values()], limit)
    return sorted((entry for lot in lots.values() for entry in lot[:quota]), key=lambda entry: entry.offset)


def fair_quota(sizes: Iterable[int], limit: int) -> int:
    """The largest q with sum(min(size, q)) <= limit: what each lot may keep."""
    quota, left = 0, limit
    waiting = sorted(sizes)
    while waiting:
        share = left // len(waiting)
        if waiting[0] > share:
            return max(quota, share)
        quota = waiting.pop(0)
        left -= quota
    return quota


def embed(runs: Sequence[Run], entries: Sequence[Sequence[Entry]], rows: int, size: int) -> list[dict[str, Any]]:
    """The samples of all runs for the page: at most `rows`, and at most about `size` bytes of JSON."""
    limit = max(1, rows // len(runs))

    def chosen() -> list[list[Entry]]:
        return [choose(index, limit) for index in entries]

    # By their size in the file first: to read completions for what they show takes seconds a megabyte.
    while limit > 1 and (stored := sum(entry.size for lot in chosen() for entry in lot)) > size:
        limit = max(1, math.floor(0.95 * limit * size / stored))
    read: dict[tuple[int, int], dict[str, Any]] = {}
    while True:
        for place, (run, lot) in enumerate(zip(runs, chosen(), strict=True)):
            wanted = [entry for entry in lot if (place, entry.offset) not in read]
            for entry, row in read_chosen(run.folder.samples, wanted):
                read[place, entry.offset] = {"run": place, **page_row(row, MAX_TEXT)}
        named = [(place, entry.offset) for place, lot in enumerate(chosen()) for entry in lot]
        shown = [read[name] for name in named if name in read]
        measured = len(json.dumps(shown))
        if measured <= size or limit == 1:
            return shown
        limit = max(1, math.floor(0.95 * limit * size / measured))


def read_chosen(path: Path, chosen: Sequence[Entry]) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """The rows of these entries, without those that a run took back meanwhile as it was resumed."""
    if not chosen:
        return
    with path.open("rb") as file:
        for entry in chosen:
            file.seek(entry.offset)
            row = parse_line(file.readline())
            if row is not None and row["step"] == entry.step and isinstance(row.get("completion"), str):
                yield entry, row


def page_row(row: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """A sample as the page wants it. `parts` is the completion in pieces, [kind, text] each; their texts
    make up the completion, so that no offset has to be right in two languages' ideas of a string."""
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
        "tries": tries if isinstance(tries, int) else 0,
        "behaviors": [str(name) for name in behaviors] if isinstance(behaviors, list) else [],
    }


def _parts(row: Mapping[str, Any], text: str) -> list[list[str]]:
    """The text in pieces with the kind of each. A row without its task and fields is not coloured."""
    parts, done = [], 0
    for span in _spans(row, text):
        parts += [["", text[done : span.start]], [span.kind, text[span.start : span.end]]]
        done = span.end
    return [part for part in [*parts, ["", text[done:]]] if part[1]]


def _spans(row: Mapping[str, Any], text: str) -> list[Span]:
    env, fields = row.get("env"), row.get("fields")
    if not (isinstance(env, str) and isinstance(fields, dict)):
        return []
    try:
        return read_spans(env, fields, text)
    except (KeyError, TypeError, ValueError):
        return []  # one odd row is no reason to have no report


def stages(run: Run, entries: Sequence[Entry], problems: int) -> dict[str, Any]:
    """The same held-out problems at step 0, in between and at the end: those failed first and solved
    at last. In between is the evaluation nearest to the aha event, or else the middle one."""
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
    learned.sort(key=lambda key: sum(key not in at for at in found.values()))  # seen at each of them come first
    rows = [
        [_stage(run, found[step][key]) if key in found[step] else None for step in shown] for key in learned[:problems]
    ]
    return {
        "steps": shown,
        "problems": [row for row in rows if any(row)],
    }


def _between(run: Run, steps: Sequence[int]) -> list[int]:
    if not steps:
        return []
    aha = [event["step"] for event in run.events if event["kind"] == "aha"]
    return [min(steps, key=lambda step: abs(step - aha[0])) if aha else steps[len(steps) // 2]]


def _stage(run: Run, entry: Entry) -> dict[str, Any] | None:
    return next((page_row(row, STAGE_TEXT) for _, row in read_chosen(run.folder.samples, [entry])), None)

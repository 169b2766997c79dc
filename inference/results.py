"""What an evaluation leaves: a line a problem as they are finished, and a summary over them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.types import Problem
from inference.engine import Outcome
from inference.select import answer_key
from inference.statistics import Interval, bootstrap, majority_at_k, pass_at_k, wilson


class Results:
    """eval/<name>.jsonl and eval/<name>.json. An evaluation that was stopped goes on with what is missing.

    spent: of each start so far, its "seconds", of which "generating_seconds", and its "tokens".
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.lines = folder / f"{name}.jsonl"
        self.summary = folder / f"{name}.json"
        self.spent: list[dict[str, float]] = []

    def claim(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Begin, or go on: the rows by problem key that are there already.

        Raises:
            ValueError: what is there was made by other settings.
        """
        if not self.lines.is_file():
            self.lines.parent.mkdir(parents=True, exist_ok=True)
            self.add({"settings": settings})
            return {}
        before, *rows = _whole_rows(self.lines)
        now = json.loads(json.dumps(settings))
        for key in sorted(before["settings"].keys() | now.keys()):
            if before["settings"].get(key) != now.get(key):
                raise ValueError(
                    f"{self.lines} was made with {key}={before['settings'].get(key)}, now it is {now.get(key)}; "
                    "choose another name=NAME, or remove the file"
                )
        self.spent = [row["spent"] for row in rows if "spent" in row]
        return {row["key"]: row for row in rows if "key" in row}

    def add(self, row: Mapping[str, Any]) -> None:
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def add_spent(self, seconds: float, generating_seconds: float, tokens: int) -> None:
        """At the end of a start, whether or not it answered all problems."""
        self.spent.append({"seconds": seconds, "generating_seconds": generating_seconds, "tokens": tokens})
        self.add({"spent": self.spent[-1]})

    @property
    def total_spent(self) -> dict[str, float]:
        names = ("seconds", "generating_seconds", "tokens")
        return {name: sum(one[name] for one in self.spent) for name in names}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        self.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows; a last line that a crash cut short is taken out of the file."""
    text = path.read_text(encoding="utf-8")
    whole, _, torn = text.rpartition("\n")
    if torn:
        path.write_text(whole + "\n", encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def row_of(problem: Problem, outcome: Outcome, correct: Sequence[bool]) -> dict[str, Any]:
    """A problem's line; `correct` says it of each candidate."""
    candidates = [
        {
            "text": one.text,
            "answer": answer_key(one),
            "correct": right,
            "tokens": len(one.token_ids),
            "logprob": one.logprob,
            "finish_reason": one.finish_reason,
        }
        for one, right in zip(outcome.candidates, correct, strict=True)
    ]
    return {
        "key": problem.key,
        "correct": correct[outcome.candidates.index(outcome.chosen)],
        "tokens": outcome.tokens,
        "rounds": outcome.rounds,
        "details": outcome.details,
        "candidates": candidates,
    }


def summarize(rows: Sequence[Mapping[str, Any]], independent: bool) -> dict[str, Any]:
    """Accuracy with its Wilson interval, tokens a problem, and where the candidates of a problem are
    `independent` samples pass@k and majority@k, with bootstrap intervals over problems."""
    right = sum(row["correct"] for row in rows)
    summary: dict[str, Any] = {
        "problems": len(rows),
        "accuracy": _plain(wilson(right, len(rows))),
        "tokens_per_problem": sum(row["tokens"] for row in rows) / len(rows),
    }
    n = min(len(row["candidates"]) for row in rows) if independent else 0
    sizes = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= n]
    summary["pass_at"] = {k: _plain(bootstrap([pass_at(row, k) for row in rows])) for k in sizes}
    summary["majority_at"] = {k: _plain(bootstrap([majority_at(row, k) for row in rows])) for k in sizes}
    return summary


def pass_at(row: Mapping[str, Any], k: int) -> float:
    """Of one problem's samples, in 0..1; `pass_at_k`."""
    correct = [one["correct"] for one in row["candidates"]]
    return pass_at_k(len(correct), sum(correct), k)


def majority_at(row: Mapping[str, Any], k: int) -> float:
    """Of one problem's samples, in 0..1; `majority_at_k`."""
    votes = [one["answer"] for one in row["candidates"]]
    right = {one["answer"] for one in row["candidates"] if one["correct"] and one["answer"] is not None}
    return majority_at_k(votes, right, k)


def _plain(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}

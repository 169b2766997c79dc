"""The files of an evaluation: a line per problem, written as problems finish, and a summary."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from grpo.types import Problem, Score, sha256_of_problems
from inference.statistics import Interval, bootstrap, majority_at_k, pass_at_k, wilson
from inference.types import StrategyOutput
from inference.voting import answer_key
from run.files import DamagedFile, append_rows, read_rows, replace_json
from run.lock import lock


class CandidateRow(TypedDict):
    text: str
    answer: str | None  # normalized, None if missing
    correct: bool
    reason: str  # the checker's explanation
    error: str | None  # why the grader failed; such a candidate counts as wrong, and is counted
    tokens: int
    forced_tokens: NotRequired[int]  # those of `tokens` that the strategy inserted; older rows do not have it
    logprob: float  # the sum over the others
    finish_reason: str | None


def mean_logprob(candidate: CandidateRow) -> float:
    """The mean log-probability, in nats, of the tokens that the model sampled; 0 if there are none."""
    return candidate["logprob"] / max(1, candidate["tokens"] - candidate.get("forced_tokens", 0))


class ProblemRow(TypedDict):
    """A problem's line: whether the chosen candidate is correct, and the cost of the strategy on the problem."""

    key: str
    problem_sha256: str
    correct: bool
    chosen: int  # index of the chosen candidate
    tokens: int
    rounds: int
    details: Mapping[str, Any]
    candidates: list[CandidateRow]


class Results:
    """Reads and writes <name>.jsonl and <name>.json in a folder; an interrupted evaluation resumes from the former.

    elsewhere  the override by which the user chooses another file
    spent      cost of each start so far: "seconds", "generating_seconds" (part of the former), "tokens" and "usd"
    """

    def __init__(self, folder: Path, name: str, elsewhere: str = "name=NAME") -> None:
        self.lines = folder / f"{name}.jsonl"
        self.summary = folder / f"{name}.json"
        self.elsewhere = elsewhere
        self.spent: list[dict[str, float]] = []

    def open(self, settings: Mapping[str, Any]) -> dict[str, ProblemRow]:
        """Lock the file until this process ends, and create it or resume from it; returns the finished rows by problem
        key.

        Raises:
            ValueError: the file was written with different settings.
            DamagedFile: a line is damaged.
            FolderInUse: another process writes it.
        """
        self.lock = lock(self.lines.parent, f"choose another {self.elsewhere}", f".{self.lines.stem}.lock")
        if self.lines.is_file():
            _cut_incomplete_line(self.lines)
        lines = list(read_rows(self.lines)) if self.lines.is_file() else []
        if not lines:
            self.summary.unlink(missing_ok=True)  # that of rows which the user has removed
            append_rows(self.lines, [{"settings": settings}])
            return {}
        before = lines[0]
        if not isinstance(before.get("settings"), dict):
            raise ValueError(f"{self.lines} does not begin with its settings; remove it, or choose {self.elsewhere}")
        now = json.loads(json.dumps(settings))
        for key in sorted(before["settings"].keys() | now.keys()):
            if before["settings"].get(key) != now.get(key):
                raise ValueError(
                    f"{self.lines} was written with {key}={before['settings'].get(key)}, now {key}={now.get(key)}; "
                    f"choose another {self.elsewhere}, or remove the file"
                )
        self.spent = [row["spent"] for row in lines if "spent" in row]
        return {row["key"]: row for row in _problem_rows(self.lines, lines)}

    def add(self, row: ProblemRow) -> None:
        append_rows(self.lines, [row])

    def add_spent(self, seconds: float, generating_seconds: float, tokens: int, usd: float) -> None:
        """Record the cost of this start, whether or not it finished all problems."""
        self.spent.append({"seconds": seconds, "generating_seconds": generating_seconds, "tokens": tokens, "usd": usd})
        append_rows(self.lines, [{"spent": self.spent[-1]}])

    @property
    def total_spent(self) -> dict[str, float]:
        names = ("seconds", "generating_seconds", "tokens", "usd")
        return {name: sum(start.get(name, 0) for start in self.spent) for name in names}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        replace_json(self.summary, summary)


def problem_rows(path: Path) -> Iterator[ProblemRow]:
    """The finished problems of an evaluation, from its <name>.jsonl.

    Raises:
        DamagedFile: a line is damaged.
    """
    return _problem_rows(path, read_rows(path))


def _problem_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[ProblemRow]:
    for number, row in enumerate(rows, start=1):
        if "key" in row:
            if missing := ProblemRow.__required_keys__ - row.keys():
                raise DamagedFile(f"{path}:{number} has no {min(missing)}; remove this line, and run the command again")
            yield cast(ProblemRow, row)


def _cut_incomplete_line(path: Path) -> None:
    """Remove a last line that a crash left incomplete, so that the next one does not continue it."""
    content = path.read_bytes()
    os.truncate(path, content.rfind(b"\n") + 1)


def problem_row(problem: Problem, output: StrategyOutput, scores: Sequence[Score]) -> ProblemRow:
    """Return the line of a problem; `scores` are those of its candidates, in order."""
    candidates: list[CandidateRow] = [
        {
            "text": candidate.text,
            "answer": answer_key(candidate),
            "correct": score.correct,
            "reason": score.reason,
            "error": score.error,
            "tokens": len(candidate.token_ids),
            "forced_tokens": candidate.forced_tokens,
            "logprob": candidate.logprob,
            "finish_reason": candidate.finish_reason,
        }
        for candidate, score in zip(output.candidates, scores, strict=True)
    ]
    chosen = output.candidates.index(output.chosen)
    return {
        "key": problem.key,
        "problem_sha256": sha256_of_problems([problem]),
        "correct": scores[chosen].correct,
        "chosen": chosen,
        "tokens": output.tokens,
        "rounds": output.rounds,
        "details": output.details,
        "candidates": candidates,
    }


def summarize(rows: Sequence[ProblemRow], independent: bool) -> dict[str, Any]:
    """Compute the accuracy with its Wilson interval and the mean tokens per problem.

    If the candidates of a problem are `independent` samples, also pass@k and majority@k, with bootstrap intervals
    over problems.
    """
    right = sum(row["correct"] for row in rows)
    summary: dict[str, Any] = {
        "problems": len(rows),
        "accuracy": _as_dict(wilson(right, len(rows))),
        "tokens_per_problem": sum(row["tokens"] for row in rows) / len(rows),
        "grader_errors": sum(candidate["error"] is not None for row in rows for candidate in row["candidates"]),
        "too_long_prompts": sum(bool(row["details"].get("too_long")) for row in rows),
    }
    n = min(len(row["candidates"]) for row in rows) if independent else 0
    sizes = [*(k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k < n), *([n] if n else [])]
    summary["pass_at"] = {k: _as_dict(bootstrap([pass_at(row, k) for row in rows])) for k in sizes}
    summary["majority_at"] = {k: _as_dict(bootstrap([majority_at(row, k) for row in rows])) for k in sizes}
    return summary


def pass_at(row: ProblemRow, k: int) -> float:
    """`pass_at_k` of a problem's samples, 0..1."""
    correct = [candidate["correct"] for candidate in row["candidates"]]
    return pass_at_k(len(correct), sum(correct), k)


def majority_at(row: ProblemRow, k: int) -> float:
    """`majority_at_k` of a problem's samples, 0..1."""
    votes = [candidate["answer"] for candidate in row["candidates"]]
    right = {
        candidate["answer"]
        for candidate in row["candidates"]
        if candidate["correct"] and candidate["answer"] is not None
    }
    return majority_at_k(votes, right, k)


def _as_dict(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}

"""What a pipeline has produced: the figures of each stage, and completions of the same problems after each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conf.pipelines import StageConfig
from inference.results import problem_rows
from pipelines.graph import given_models
from pipelines.ledger import Ledger
from rewards.scripts import mixes_scripts
from rewards.tags import read_tags
from run.files import read_json

Interval = Mapping[str, float]  # "mean", "low" and "high" of a 95% interval


@dataclass(frozen=True)
class Accuracy:
    """A model on held-out problems.

    pass_at_1, majority  shares of problems, 0..1; majority is that of `votes` completions, None without a vote
    length               mean tokens of a completion
    truncated, mixed     shares of completions that reach the token limit, and whose thought has words in two scripts
    """

    problems: int
    samples: int
    pass_at_1: Interval
    votes: int
    majority: Interval | None
    length: float
    truncated: float
    mixed: float


@dataclass(frozen=True)
class StageResult:
    """A given model or a stage, with the evaluation of its model.

    takes     what it starts from and trains on, in words
    rows      of the data of a traces stage; counts: [filter, rows in, rows out]
    tokens    that it generated or trained on
    """

    name: str
    kind: str
    arm: str
    takes: str
    state: str
    accuracy: Accuracy | None = None
    rows: int | None = None
    counts: list[list[Any]] = field(default_factory=list)
    tokens: int = 0
    minutes: float = 0.0
    usd: float = 0.0
    weights_sha256: str | None = None


def read_results(ledger: Ledger) -> list[StageResult]:
    """The given models and the stages in order, without those that evaluate a model: the figures of its first
    evaluation are in its row."""
    pipeline = ledger.pipeline
    evaluations = {stage.model: name for name, stage in reversed(pipeline.stages.items()) if stage.kind == "evaluate"}
    finished = {model: ledger.result(name) for model, name in evaluations.items() if ledger.is_finished(name)}
    votes = votes_of_all(list(finished.values()))
    accuracies = {model: read_accuracy(path, votes) for model, path in finished.items()}
    results = [
        StageResult(model, "model", "", pipeline.model_name(model), "given", accuracies.get(model))
        for model in given_models(pipeline.stages)
        if model in evaluations
    ]
    for name, stage in pipeline.stages.items():
        if stage.kind != "evaluate":
            results.append(_stage_result(ledger, name, stage, accuracies.get(name)))
    return [*results, _evaluations(ledger, [n for n, stage in pipeline.stages.items() if stage.kind == "evaluate"])]


def votes_of_all(paths: Sequence[Path]) -> int:
    """The largest k for which all evaluations with a majority vote have that of k completions; 0 if there is none."""
    sizes = [set(map(int, _read(path)["majority_at"])) for path in paths]
    several = [each for each in sizes if len(each) > 1]
    return max(set.intersection(*several)) if several else 0


def read_accuracy(path: Path, votes: int) -> Accuracy:
    """Read eval/accuracy.json and the completions beside it. votes: the size of the majority vote, if it has one."""
    summary = _read(path)
    candidates = [candidate for row in problem_rows(path.with_suffix(".jsonl")) for candidate in row["candidates"]]
    return Accuracy(
        problems=summary["problems"],
        samples=len(candidates) // summary["problems"],
        pass_at_1=summary["pass_at"].get("1", summary["accuracy"]),
        votes=votes,
        majority=summary["majority_at"].get(str(votes)) if votes > 1 else None,
        length=_mean([candidate["tokens"] for candidate in candidates]),
        truncated=_mean([candidate["finish_reason"] == "length" for candidate in candidates]),
        mixed=_mean([mixes_scripts(read_tags(candidate["text"]).thought) for candidate in candidates]),
    )


def _read(path: Path) -> dict[str, Any]:
    do = "remove it, and run the pipeline again to repeat the evaluation"
    return read_json(path, do, ("problems", "accuracy", "pass_at", "majority_at"))


def _stage_result(ledger: Ledger, name: str, stage: StageConfig, accuracy: Accuracy | None) -> StageResult:
    summary = ledger.summary(name) if ledger.is_finished(name) else {}
    pays = name in ledger.records and ledger.samples_itself(name)
    data = [source if rows is None else f"{source} ({rows})" for source, rows in stage.data.items()]
    return StageResult(
        name=name,
        kind=stage.kind,
        arm=stage.arm,
        takes=stage.model + (f", on {' and '.join(data)}" if data else ""),
        state=ledger.state(name),
        accuracy=accuracy,
        rows=summary.get("rows"),
        counts=summary.get("counts", []),
        tokens=summary.get("tokens", 0) if pays else 0,
        minutes=ledger.seconds(name) / 60 if name in ledger.records else 0.0,
        usd=summary.get("usd", 0.0) if pays else 0.0,
        weights_sha256=summary.get("weights_sha256"),
    )


def _evaluations(ledger: Ledger, names: Sequence[str]) -> StageResult:
    """All evaluations in one row."""
    finished = [name for name in names if ledger.is_finished(name)]
    spent = [ledger.summary(name)["spent"] for name in finished]
    return StageResult(
        name="evaluations",
        kind="evaluate",
        arm="",
        takes="every model",
        state=f"{len(finished)} of {len(names)}",
        tokens=int(sum(each["tokens"] for each in spent)),
        minutes=sum(map(ledger.seconds, finished)) / 60,
        usd=sum(each.get("usd", 0.0) for each in spent),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

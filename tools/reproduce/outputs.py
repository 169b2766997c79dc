"""What the stages of a seed have written: completions of held-out problems, and hours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.env import Env
from grpo.types import Problem
from inference.results import mean_logprob, problem_rows
from pipelines.commands import Known, stage_settings
from pipelines.graph import selected
from pipelines.ledger import Ledger
from run.files import read_rows
from run.folder import RunFolder


@dataclass(frozen=True)
class Sample:
    """A completion.

    answer     the normalized answer; None if there is none, or if the stage did not record it
    certainty  mean log-probability of a sampled token, in nats; 0 if the stage did not record it
    """

    text: str
    answer: str | None
    correct: bool
    tokens: int
    truncated: bool
    certainty: float = 0.0


@dataclass(frozen=True)
class Solved:
    """A held-out problem with its completions.

    correct  whether the answer is correct that the decoding strategy chose
    tokens   generated for that answer
    """

    env: Env
    problem: Problem
    correct: bool
    tokens: int
    samples: tuple[Sample, ...]


class SeedRun:
    """The finished stages of the pipeline with one seed."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.stages = ledger, ledger.pipeline.stages
        self._solved: dict[str, list[Solved]] = {}
        self._envs: dict[tuple[str, ...], Env] = {}

    @property
    def seed(self) -> int:
        return self.ledger.pipeline.cfg.seed

    def has(self, names: Sequence[str]) -> bool:
        """Whether these stages have finished, and those that they need."""
        return all(map(self.ledger.is_finished, selected(self.stages, names)))

    def solved(self, name: str) -> list[Solved]:
        """The held-out problems of an evaluation or, of a trained stage, those of its own last evaluation, which has
        one completion of each."""
        if name not in self._solved:
            rows = list(_evaluated(self.ledger, name) if self.stages[name].kind == "evaluate" else self._own(name))
            env = self._env(name)
            problems = {problem.key: problem for problem in env.eval_set(len(rows))}
            self._solved[name] = [
                Solved(env, problems[row["key"]], row["correct"], row["tokens"], tuple(row["samples"])) for row in rows
            ]
        return self._solved[name]

    def accuracy_by_hours(self, name: str) -> list[tuple[float, float]]:
        """(hours since the start of a trained stage, held-out accuracy) of each of its evaluations. An evaluation is in
        the row of the step that follows it, whose seconds do not count yet. The clock of a run starts after its imports
        and checks, which `hours` includes."""
        folder = RunFolder(self.ledger.pipeline.folder / name)
        start = self.ledger.seconds(name) - folder.read_spent()[0]
        rows = [row for row in folder.read_metrics() if "eval/sampled" in row]
        return [((start + row["cost/seconds"] - row.get("time/step", 0.0)) / 3600, row["eval/sampled"]) for row in rows]

    def hours(self, name: str) -> float:
        """Hours that a stage took, from the start of its process to its end."""
        return self.ledger.seconds(name) / 3600

    def _own(self, name: str) -> Iterator[Mapping[str, Any]]:
        """A trained stage's own last evaluation."""
        for row in self.evaluated(name, "eval"):
            sample = Sample(row["completion"], None, row["correct"], row["tokens"], row["truncated"])
            yield {"key": row["key"], "correct": row["correct"], "tokens": row["tokens"], "samples": [sample]}

    def evaluated(self, name: str, kind: str, first: bool = False) -> list[Mapping[str, Any]]:
        """The rows of samples.jsonl of a trained stage's last evaluation, or of its first one.

        kind  eval (sampled) or eval_greedy
        """
        rows = [row for row in read_rows(RunFolder(self.ledger.pipeline.folder / name).samples) if row["kind"] == kind]
        steps = [row["step"] for row in rows]
        step = min(steps) if first else max(steps)
        return [row for row in rows if row["step"] == step]

    def _env(self, name: str) -> Env:
        """The task of a stage. Stages with the same model and the same task share it."""
        stage = self.stages[name]
        overrides = self.ledger.pipeline.overrides(name, Known())
        key = tuple(each for each in overrides if each.startswith(("model=", "env")))
        if key not in self._envs:
            self._envs[key] = stage_settings(stage.kind, overrides).env
        return self._envs[key]


def _evaluated(ledger: Ledger, name: str) -> Iterator[Mapping[str, Any]]:
    for row in problem_rows(ledger.result(name).with_suffix(".jsonl")):
        samples = [
            Sample(
                each["text"], each["answer"], each["correct"], each["tokens"], each["finish_reason"] == "length",
                mean_logprob(each),
            )
            for each in row["candidates"]
        ]  # fmt: skip
        yield {"key": row["key"], "correct": row["correct"], "tokens": row["tokens"], "samples": samples}

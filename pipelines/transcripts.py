"""Completions of the same held-out problems after each stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from envs.env import Env
from grpo.types import Problem
from inference.results import problem_rows
from pipelines.commands import Known, stage_settings
from pipelines.ledger import Ledger
from report.samples import STAGE_PROBLEMS, STAGE_TEXT, page_row

Rows = Mapping[str, Mapping[str, Any]]  # problem key -> line of an evaluation


def read_transcripts(ledger: Ledger) -> dict[str, Any]:
    """{"models": names, "problems": for each problem one sample per model}: first problems that the first model fails
    and the last one solves."""
    stages = ledger.pipeline.stages
    first: dict[str, str] = {}  # model -> its first evaluation
    for name, stage in stages.items():
        if stage.kind == "evaluate" and ledger.is_finished(name):
            first.setdefault(stage.model, name)
    if not first:
        return {"models": [], "problems": []}
    tasks = {name: stage_settings("evaluate", ledger.pipeline.overrides(name, Known())).env for name in first.values()}
    env = next(iter(tasks.values()))
    evaluations = [name for name, task in tasks.items() if task == env]
    lines = [ledger.result(name).with_suffix(".jsonl") for name in evaluations]
    rows = [{row["key"]: row for row in problem_rows(path)} for path in lines]
    problems = {problem.key: problem for problem in env.eval_set(len(rows[0]))}
    keys = choose([problem for problem in problems if all(problem in found for found in rows)], rows)
    shown = [[sample(env, problems[key], found[key]) for found in rows] for key in keys]
    return {"models": [stages[name].model for name in evaluations], "problems": shown}


def choose(keys: Sequence[str], rows: Sequence[Rows]) -> list[str]:
    """Up to STAGE_PROBLEMS of the problems: those that the first model fails and the last one solves, then others."""

    def solved(found: Rows, key: str) -> bool:
        return bool(found[key]["candidates"][0]["correct"])

    return sorted(keys, key=lambda key: not (solved(rows[-1], key) and not solved(rows[0], key)))[:STAGE_PROBLEMS]


def sample(env: Env, problem: Problem, row: Mapping[str, Any]) -> dict[str, Any]:
    """The first completion of a problem, as the page shows it."""
    candidate = row["candidates"][0]
    shown = {
        "step": 0,
        "key": problem.key,
        "env": problem.env,
        "fields": dict(problem.fields),
        "prompt": str(problem.prompt),
        "completion": candidate["text"],
        "correct": candidate["correct"],
        "reason": candidate.get("reason"),
        "tokens": candidate["tokens"],
        "truncated": candidate["finish_reason"] == "length",
        "tries": env.read_behaviors(problem, candidate["text"]).tries,
    }
    return page_row(shown, STAGE_TEXT)

"""Completions become scored groups."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from grpo.types import Completion, Group, Problem, Rollout, Score
from rewards.countdown import Verdict
from rewards.mix import COMPONENTS
from rewards.tags import read_tags


class Env(Protocol):
    """What a task offers. Problems are functions of (seed, split, index) alone."""

    name: str

    def problem(self, seed: int, split: str, index: int) -> Problem: ...

    def held_out(self, count: int) -> list[Problem]: ...

    def check(self, problem: Problem, answer: str | None) -> Verdict: ...


def score(
    env: Env, problems: Sequence[Problem], completions: Sequence[Completion], weights: Mapping[str, float]
) -> list[Group]:
    """Score `completions`, which hold the same number for each problem, problem by problem."""
    size = len(completions) // len(problems)
    assert size * len(problems) == len(completions)
    groups = []
    for place, problem in enumerate(problems):
        members = completions[place * size : (place + 1) * size]
        rollouts = tuple(Rollout(c, score_one(env, problem, c.text, weights)) for c in members)
        groups.append(Group(problem, rollouts))
    return groups


def score_one(env: Env, problem: Problem, text: str, weights: Mapping[str, float]) -> Score:
    """A grader that raises costs the completion its score, and is counted, never hidden."""
    try:
        parts = read_tags(text)
        verdict = env.check(problem, parts.answer)
        components = {name: COMPONENTS[name](parts, verdict) for name in weights}
    except Exception as error:  # noqa: BLE001 - whatever a grader raises is a counted error
        return Score(0.0, False, dict.fromkeys(weights, 0.0), "the grader failed", error=repr(error))
    reward = sum(weight * components[name] for name, weight in weights.items())
    return Score(reward, verdict.correct, components, verdict.reason)

"""A process that scores completions: `python -m envs.grader FD`, started by envs/grading.py.

It can be killed at any time. What it scores was written by a model, so its memory is bounded too.
"""

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, Protocol

from grpo.types import Problem, Score
from rewards.mix import RewardConfig, component_scores
from rewards.verdict import Verdict

MEMORY = 4 * 2**30


class Checker(Protocol):
    def check(self, problem: Problem, answer: str | None) -> Verdict: ...


def grade(env: Checker, reward: RewardConfig, problem: Problem, text: str, tokens: int | None) -> Score:
    """Score one completion. A grader that raises costs it its score, and is counted, never hidden."""
    try:
        verdict, scores = component_scores(reward, text, lambda answer: env.check(problem, answer), tokens)
    except Exception as error:  # noqa: BLE001 - whatever a grader raises is a counted error
        return failed(reward, repr(error))
    return Score(reward.total(scores), verdict.correct, scores, verdict.reason)


def failed(reward: RewardConfig, error: str) -> Score:
    """The score of a completion that the grader failed on."""
    return Score(0.0, False, dict.fromkeys(reward.weights, 0.0), "the grader failed", error=error[:1000])


def to_json(score: Score) -> bytes:
    return json.dumps(asdict(score)).encode()


def from_json(data: bytes) -> Score:
    fields: Mapping[str, Any] = json.loads(data)
    return Score(**fields)


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    with Connection(int(sys.argv[1])) as connection:
        env, reward = connection.recv()
        while True:
            try:
                problem, text, tokens = connection.recv()
            except EOFError:
                return
            connection.send_bytes(to_json(grade(env, reward, problem, text, tokens)))


if __name__ == "__main__":
    main()

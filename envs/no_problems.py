"""No task: a supervised run without problems measures its held-out loss only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envs.behaviors import Behaviors, read_text_behaviors
from grpo.types import Problem
from rewards.verdict import Verdict

NO_PROBLEMS = "env=none has no problems; choose a task of conf/env/"


@dataclass
class NoProblems:
    """A task without problems, for train_sft.py."""

    name: str = "none"

    def problem(self, seed: int, split: str, index: int) -> Problem:
        raise ValueError(NO_PROBLEMS)

    def eval_set(self, count: int) -> list[Problem]:
        return []

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        raise ValueError(NO_PROBLEMS)

    def read(self, fields: Mapping[str, Any]) -> Problem:
        raise ValueError(NO_PROBLEMS)

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        return read_text_behaviors(text)

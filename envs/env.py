"""The interface that every task implements."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from envs.behaviors import Behaviors
from grpo.types import Problem
from rewards.verdict import Verdict


class Env(Protocol):
    """A task: its problems, its checker and the reader of its completions. It is a dataclass of its settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: str

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split ("train" or "test"), a function of the arguments alone."""
        ...

    def eval_set(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run.

        Raises:
            ValueError: the task has fewer held-out problems.
        """
        ...

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        """Check the text of the answer tag; None means that the completion has no answer tag."""
        ...

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """Build a problem from a JSON record.

        Raises:
            ValueError: a field is missing or malformed.
        """
        ...

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        """Detect the reasoning behaviours in a completion. Tasks without a trace language of their own return
        `envs.behaviors.read_text_behaviors(text)`."""
        ...

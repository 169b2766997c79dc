"""A weighted mix of other tasks; each problem keeps the name of its own, and is checked by it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.splits import require
from grpo.types import Problem
from rewards.verdict import Verdict


@dataclass
class Mixed:
    """The tasks by name, each with its own settings, and their shares; a weight of 0 leaves one out."""

    parts: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    name: str = "mixed"

    def __post_init__(self) -> None:
        named = set(self.weights) <= set(self.parts)
        require(named, "weights", ", ".join(self.weights), f"for tasks of env.parts, which are {', '.join(self.parts)}")
        usable = any(self.weights.values()) and min(self.weights.values()) >= 0
        require(usable, "weights", dict(self.weights), "0 or more, and not all 0")

    @property
    def shares(self) -> dict[str, float]:
        """The weights of the tasks in use, adding up to 1."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items() if weight > 0}

    def problem(self, seed: int, split: str, index: int) -> Problem:
        shares = self.shares
        rng = random.Random(f"mixed/{seed}/{split}/{index}")
        (name,) = rng.choices(list(shares), weights=list(shares.values()))
        return self.parts[name].problem(seed, split, index)

    def eval_set(self, count: int) -> list[Problem]:
        """Every task's share of held-out problems, evenly interleaved, so that a part of the list
        has the same shares."""
        order = deal(self.shares, count)
        queues = {name: iter(self.parts[name].eval_set(order.count(name))) for name in set(order)}
        return [next(queues[name]) for name in order]

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return self._part(problem.env).check(problem, answer)

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from JSON fields, of which `env` names the task."""
        if fields.get("env") not in self.parts:
            raise ValueError(f"field env must be one of {', '.join(self.parts)}, got {fields.get('env')!r}")
        return self.parts[fields["env"]].read(fields)

    def _part(self, env: str) -> Any:
        return next(part for part in self.parts.values() if part.name == env)


def deal(shares: Mapping[str, float], count: int) -> list[str]:
    """`count` names in their shares: always the one that is furthest behind its own."""
    order: list[str] = []
    for total in range(1, count + 1):
        order.append(max(shares, key=lambda name: shares[name] * total - order.count(name)))
    return order

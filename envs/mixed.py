"""A weighted mix of other tasks. Each problem keeps the name of its task, which also checks it."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from envs.behaviors import Behaviors
from envs.env import Env
from envs.splits import SPLITS, require
from grpo.types import Problem
from rewards.verdict import Verdict

RANGE = 1024  # a problem at the start of a run is replaced by one of its first 1,024


@dataclass
class Mixed:
    """The task and its settings.

    parts    the tasks by name, each with its own settings
    weights  relative frequency of each task; 0 excludes it
    """

    parts: dict[str, Any] = field(default_factory=dict)  # name -> Env, a type that Hydra cannot express
    weights: dict[str, float] = field(default_factory=dict)
    name: str = "mixed"

    def __post_init__(self) -> None:
        named = set(self.weights) <= set(self.parts)
        require(named, "weights", ", ".join(self.weights), f"for tasks of env.parts, which are {', '.join(self.parts)}")
        usable = any(self.weights.values()) and all(0 <= weight < math.inf for weight in self.weights.values())
        require(usable, "weights", dict(self.weights), "0 or more, finite, and not all 0")
        names = [part.name for part in self.parts.values()]
        twice = next((name for name in names if names.count(name) > 1), "")
        require(
            not twice, "parts", twice, "tasks with different names, by which problems find their checker: name=NAME"
        )

    @property
    def shares(self) -> dict[str, float]:
        """The weights of the tasks in use, normalized to sum to 1."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items() if weight > 0}

    @cached_property
    def held_out_keys(self) -> frozenset[str]:
        """The keys of the held-out problems of all tasks in use whose problems come from files. Other tasks split their
        problems by key, so a problem that two of them share is in the same split of both."""
        return frozenset(problem.key for problem in stored_problems(self, ("test",)))

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split; its task is drawn according to the weights. A training problem that
        another task holds out is replaced by one of the same task at a random index up to `index`.

        Raises:
            ValueError: 1,000 draws found only training problems that other tasks hold out.
        """
        shares = self.shares
        rng = random.Random(f"mixed/{seed}/{split}/{index}")
        (name,) = rng.choices(list(shares), weights=list(shares.values()))
        problem: Problem = self.parts[name].problem(seed, split, index)
        for _ in range(1000):
            if split != "train" or problem.key not in self.held_out_keys:
                return problem
            problem = self.parts[name].problem(seed, split, rng.randrange(max(index + 1, RANGE)))
        raise ValueError(
            f"env.parts.{name}: the training problems are held-out problems of other tasks of the mix, such as "
            f"{problem.key}; choose other data, or set env.weights.{name}=0"
        )

    def eval_set(self, count: int) -> list[Problem]:
        """Held-out problems of all tasks, interleaved so that every prefix of the list has about the same shares. A
        problem that two tasks have, by its key, is that of the first one.

        Raises:
            ValueError: a task has fewer held-out problems than its share.
        """
        order = deal(self.shares, count)
        queues: dict[str, Iterator[Problem]] = {}
        taken: set[str] = set()
        for name in dict.fromkeys(order):
            queues[name] = iter(_without(self.parts[name], order.count(name), taken))
        return [next(queues[name]) for name in order]

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return self._part(problem).check(problem, answer)

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        return self._part(problem).read_behaviors(problem, text)

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from a record whose field `env` names the task.

        Raises:
            ValueError: the task is unknown or rejects the record.
        """
        parts = {part.name: part for part in self.parts.values()}
        if not isinstance(fields.get("env"), str) or fields["env"] not in parts:
            raise ValueError(f"field env must be one of {', '.join(parts)}, got {fields.get('env')!r}")
        return parts[fields["env"]].read(fields)

    def _part(self, problem: Problem) -> Env:
        return next(part for part in self.parts.values() if part.name == problem.env)


def _without(part: Env, count: int, taken: set[str]) -> list[Problem]:
    """`count` held-out problems of a task whose keys are not in `taken`, to which they are added."""
    more = 0
    while True:
        problems = [problem for problem in part.eval_set(count + more) if problem.key not in taken][:count]
        if len(problems) == count:
            taken.update(problem.key for problem in problems)
            return problems
        more += count - len(problems)


def deal(shares: Mapping[str, float], count: int) -> list[str]:
    """`count` names in proportion to their shares: the next name is always the one furthest behind its share."""
    order: list[str] = []
    for total in range(1, count + 1):
        order.append(max(shares, key=lambda name: shares[name] * total - order.count(name)))
    return order


def tasks_in_use(env: Env) -> list[Any]:
    """The tasks of a mix from which problems are drawn, or the task itself."""
    return [env.parts[name] for name in env.shares] if isinstance(env, Mixed) else [env]


def stored_problems(env: Env, splits: Sequence[str] = SPLITS) -> Iterator[Problem]:
    """All problems that the tasks in use read from files or datasets, in order, by their method `problems`. A task
    that draws its problems at random has none."""
    for task in tasks_in_use(env):
        for split in splits if hasattr(task, "problems") else ():
            yield from task.problems(split)


def tasks_of(env: Env) -> list[Any]:
    """The tasks of a mix, or the task itself."""
    return list(env.parts.values()) if isinstance(env, Mixed) else [env]

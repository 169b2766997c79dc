"""Training and held-out problems that cannot overlap."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

from grpo.types import Problem

EVAL_FRACTION = 0.2
T = TypeVar("T")


def split_of(canonical: str, eval_fraction: float = EVAL_FRACTION) -> str:
    """ "train" or "test", decided by the canonical form of a problem alone, so that a problem
    written in another way falls on the same side."""
    digest = hashlib.sha256(canonical.encode()).digest()
    return "test" if digest[0] < 256 * eval_fraction else "train"


class Drawn(Protocol):
    name: str

    def problem(self, seed: int, split: str, index: int) -> Problem: ...


def distinct_eval_set(env: Drawn, count: int, widen: str) -> list[Problem]:
    """`count` different held-out problems of a task that draws them, the same in every run.

    Raises:
        ValueError: there are not that many; `widen` names the settings that would give more.
    """
    problems: dict[str, Problem] = {}
    for index in range(20 * count):
        problem = env.problem(0, "test", index)
        problems.setdefault(problem.key, problem)
        if len(problems) == count:
            return list(problems.values())
    raise ValueError(
        f"num_problems={count}: these settings of env {env.name} have only about {len(problems)} "
        f"held-out problems; ask for fewer, or widen {widen}"
    )


@lru_cache(maxsize=8)
def order_of(count: int, name: str) -> tuple[int, ...]:
    """0..count - 1 in a random order that is a function of `name` alone."""
    return tuple(random.Random(name).sample(range(count), count))


def in_epochs(items: Sequence[T], name: str, index: int) -> T:
    """The item at `index` of an endless walk: each epoch has all of them, in an order of its own."""
    epoch, place = divmod(index, len(items))
    return items[order_of(len(items), f"{name}/{epoch}")[place]]


def unique(problems: Iterable[Problem]) -> dict[str, Problem]:
    """The problems by key, the first of each."""
    found: dict[str, Problem] = {}
    for problem in problems:
        found.setdefault(problem.key, problem)
    return found


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Refuse a setting of the task by name."""
    if not ok:
        raise ValueError(f"env.{key} must be {allowed}, got {value}")

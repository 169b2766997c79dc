"""Disjoint training and held-out problems."""

import hashlib
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from envs.env import Env
from grpo.types import Problem

SPLITS = ("train", "test")
EVAL_FRACTION = 0.2
T = TypeVar("T")
log = logging.getLogger(__name__)


def split_of(canonical: str, eval_fraction: float = EVAL_FRACTION) -> str:
    """The split, "train" or "test", of a problem. It depends only on the problem's canonical form, so the same
    problem written in another way is in the same split."""
    digest = hashlib.sha256(canonical.encode()).digest()
    return "test" if digest[0] < 256 * eval_fraction else "train"


def distinct_eval_set(env: Env, count: int, widen: str) -> list[Problem]:
    """`count` different held-out problems of a task that draws its problems, the same in every run.

    Raises:
        ValueError: the settings allow fewer problems; the message recommends to widen the settings `widen`.
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


def first_held_out(env: Env, available: int, count: int) -> list[Problem]:
    """The first `count` held-out problems of a task with a list of them, the same in every run.

    Raises:
        ValueError: fewer are available.
    """
    if count > available:
        raise ValueError(f"num_problems={count}: env {env.name} has only {available} held-out problems")
    return [env.problem(0, "test", index) for index in range(count)]


@lru_cache(maxsize=8)
def permutation(count: int, name: str) -> tuple[int, ...]:
    """A random permutation of 0..count - 1 that depends only on `count` and `name`."""
    return tuple(random.Random(name).sample(range(count), count))


def in_epochs(items: Sequence[T], name: str, index: int) -> T:
    """The item at `index` of an endless sequence of epochs. Each epoch contains all items, in its own order.

    name  "<task>/<seed>/<split>"

    Raises:
        ValueError: there are no items.
    """
    if not items:
        task, _, split = name.split("/")
        raise ValueError(
            f"env {task} has no problems in its split {split}; choose other data, or, if one file is split, another "
            "env.eval_fraction"
        )
    epoch, position = divmod(index, len(items))
    return items[permutation(len(items), f"{name}/{epoch}")[position]]


def unique(problems: Iterable[Problem]) -> dict[str, Problem]:
    """The problems by key; the first of each key is kept."""
    found: dict[str, Problem] = {}
    for problem in problems:
        found.setdefault(problem.key, problem)
    return found


def disjoint(source: str, train: Sequence[Problem], test: Sequence[Problem]) -> Mapping[str, tuple[Problem, ...]]:
    """The problems of both splits, by split. Duplicates, and training problems that are held out too, are left out; a
    warning gives their number."""
    held_out = unique(test)
    training = [problem for key, problem in unique(train).items() if key not in held_out]
    total = len(train) + len(test)
    if left_out := total - len(training) - len(held_out):
        log.warning("%s: left out %d of %d problems, which occur more than once", source, left_out, total)
    return {"train": tuple(training), "test": tuple(held_out.values())}


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise a ValueError that names the setting `env.key`, unless `ok`."""
    if not ok:
        raise ValueError(f"env.{key} must be {allowed}, got {value}")

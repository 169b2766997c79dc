"""Code: write a small function that passes its tests in a sandbox.

The problems are the built-in ones (envs/code/problems/) or come from a file in the format of MBPP or HumanEval.
Built-in problems are drawn by (seed, split, index): a family, its constants and, for a share of them, one extra
step. All problems of a family are in the same split. The split of a record of a file depends on its canonical text;
duplicates are removed.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from envs.behaviors import Behaviors, read_text_behaviors
from envs.code.checker import check_code
from envs.code.plain import Tree, show
from envs.code.problems import TASKS
from envs.code.problems.variant import EXAMPLES, TaskVariant, draw_variant
from envs.code.records import read_fields
from envs.code.sandbox import Limits, missing_protections
from envs.prompts import STYLES, make_prompt
from envs.questions.task import canonical
from envs.records import read_file
from envs.splits import SPLITS, disjoint, first_held_out, in_epochs, require, split_of
from grpo.types import Problem
from rewards.verdict import Verdict

MAX_SHOWN = 400  # characters of one value in a question


@dataclass
class Code:
    """The task and its settings.

    path         null uses the built-in problems; otherwise a JSONL or parquet file in the format of MBPP or
                 HumanEval, which is split by its texts, or a folder with train.jsonl and test.jsonl
    num_tests    number of hidden tests of a built-in problem
    twist_share  share of built-in problems with an extra step at the end, 0..1
    time_limit   seconds for all tests of one answer together
    memory_mb    memory limit of the sandboxed process, in MB
    """

    path: str | None = None
    num_tests: int = 8
    twist_share: float = 0.5
    time_limit: float = 2.0
    memory_mb: int = 256
    prompt_style: str = "base"
    name: str = "code"

    def __post_init__(self) -> None:
        require(2 <= self.num_tests <= 50, "num_tests", self.num_tests, "2..50")
        require(0 <= self.twist_share <= 1, "twist_share", self.twist_share, "0..1")
        require(0 < self.time_limit <= 60, "time_limit", self.time_limit, "above 0 and at most 60")
        require(self.memory_mb >= 64, "memory_mb", self.memory_mb, "64 or more")
        require(self.path is None or Path(self.path).exists(), "path", self.path, "null, or a file or folder")
        styles = [style for style in STYLES if style != "tiny"]
        require(self.prompt_style in styles, "prompt_style", self.prompt_style, f"one of {', '.join(styles)}")
        missing = missing_protections()
        if missing:
            raise ValueError(f"env {self.name}: this system cannot run code in a sandbox; missing: {missing[0]}")

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split ("train" or "test"). Problems of a file are repeated in epochs.

        Raises:
            ValueError: the file has no problem in this split.
        """
        if self.path is not None:
            problems = self.problems(split)
            if not problems:
                raise ValueError(f"env.path={self.path} has no problem in the split {split}; use a larger file")
            return in_epochs(problems, f"{self.name}/{seed}/{split}", index)
        return self._problem_of(self._variant(seed, split, index))

    def eval_set(self, count: int) -> list[Problem]:
        """`count` different held-out problems, the same in every run.

        Raises:
            ValueError: there are fewer held-out problems.
        """
        if self.path is None:
            return self._built_in_eval_set(count)
        return first_held_out(self, len(self.problems("test")), count)

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        return check_code(answer, problem.fields, Limits(self.time_limit, self.memory_mb))

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        return read_text_behaviors(text)

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from a record in the format of a built-in problem, MBPP or HumanEval.

        Raises:
            ValueError: a field is missing or malformed.
        """
        read = read_fields(fields)
        return Problem(
            env=self.name,
            key=hashlib.sha256(canonical(read["text"]).encode()).hexdigest()[:16],
            prompt=make_prompt(self.prompt_style, read["question"], example(read["function"]), ""),
            answer=read["solution"],
            fields=read,
            metadata={"difficulty": fields.get("difficulty", read["solution"].strip().count("\n") + 1)},
        )

    def read_question(self, fields: Mapping[str, Any]) -> Problem:
        """Like `read`, but a missing question raises a ValueError."""
        problem = self.read(fields)
        if not problem.fields["question"].strip():
            raise ValueError("no field question")
        return problem

    def problems(self, split: str) -> tuple[Problem, ...]:
        """All problems of a split of the file, in its order; none if the problems are the built-in ones."""
        return () if self.path is None else _load(tuple(sorted(vars(self).items())))[split]

    def _variant(self, seed: int, split: str, index: int) -> TaskVariant:
        rng = random.Random(f"code/{seed}/{split}/{index}")
        return draw_variant(TASKS[rng.choice(families(split))], rng, self.twist_share)

    def _built_in_eval_set(self, count: int) -> list[Problem]:
        """Like `distinct_eval_set`, but draws tests, which takes 1 ms per problem, for distinct problems only."""
        variants: dict[str, TaskVariant] = {}
        for index in range(20 * count):
            variant = self._variant(0, "test", index)
            variants.setdefault(variant.key, variant)
            if len(variants) == count:
                return [self._problem_of(variant) for variant in variants.values()]
        raise ValueError(
            f"num_problems={count}: these settings of env {self.name} have only about {len(variants)} "
            "held-out problems; ask for fewer, or widen env.twist_share"
        )

    def _problem_of(self, variant: TaskVariant) -> Problem:
        tests = variant.draw_tests(self.num_tests)
        name, signature = variant.task.name, variant.task.signature()
        shown = " and ".join(
            f"{call(name, test)} gives {show(test['expected'], MAX_SHOWN)}" for test in tests[:EXAMPLES]
        )
        question = f"Write a Python function `{signature}`. {variant.statement} For example, {shown}."
        return Problem(
            env=self.name,
            key=variant.key,
            prompt=make_prompt(self.prompt_style, question, example(signature), ""),
            answer=variant.source,
            fields={
                "function": name,
                "tests": tests[EXAMPLES:],
                "compare": "strict",
                "question": question,
                "solution": variant.source,
            },
            metadata={"difficulty": variant.task.level, "family": name},
        )


@lru_cache(maxsize=2)
def families(split: str) -> tuple[str, ...]:
    """The families of a split, in alphabetical order."""
    return tuple(name for name in sorted(TASKS) if split_of(name) == split)


def call(name: str, test: Mapping[str, Tree]) -> str:
    return f"{name}({', '.join(show(argument, MAX_SHOWN) for argument in test['args'])})"


def example(signature: str) -> str:
    """An example of the text between the answer tags."""
    head = signature if "(" in signature else f"{signature}(...)"
    return f"\ndef {head}:\n    ...\n"


@lru_cache(maxsize=8)
def _load(settings: tuple[tuple[str, Any], ...]) -> Mapping[str, tuple[Problem, ...]]:
    """Both splits of a file or folder, cached per process."""
    env = Code(**dict(settings))
    path = Path(str(env.path))
    if path.is_dir():
        train, test = (read_file(path / f"{split}.jsonl", env.read_question) for split in SPLITS)
    else:
        problems = read_file(path, env.read_question)
        train, test = ([problem for problem in problems if split_of(problem.key) == split] for split in SPLITS)
    return disjoint(str(path), train, test)

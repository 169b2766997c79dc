"""Traces: completions of training problems that may become rows of a supervised dataset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from envs.env import Env
from envs.mixed import Mixed, tasks_of
from grpo.types import Chat, Problem, messages
from inference.results import ProblemRow

OPENING = "<think>"


@dataclass(frozen=True)
class Trace:
    """A completion of a training problem.

    problem     its `prompt` is the one that is written to the data
    tokens      length of the completion for the model that sampled it, the end token included
    difficulty  share of the problem's samples that are correct, 0..1
    sample      index of the sample among those of the problem; for a journey, of its right attempt
    attempts    number of attempts that a journey consists of; 1 for other traces
    """

    problem: Problem
    completion: str
    tokens: int
    correct: bool
    truncated: bool
    difficulty: float
    sample: int = 0
    attempts: int = 1

    @property
    def row(self) -> dict[str, Any]:
        """The trace as a row of the data. A chat prompt is a list of messages, the last of which the completion
        continues."""
        return {
            "prompt": messages(self.problem.prompt),
            "completion": self.completion,
            "key": self.problem.key,
            "env": self.problem.env,
            "problem": dict(self.problem.fields),
            "correct": self.correct,
            "truncated": self.truncated,
            "tokens": self.tokens,
            "difficulty": round(self.difficulty, 4),
            "sample": self.sample,
            "attempts": self.attempts,
        }


def draw_problems(
    env: Env, seed: int, count: int, fits: Callable[[Problem], bool] = lambda problem: True
) -> list[Problem]:
    """Return `count` different training problems, the same for the same seed; more of them begin with the same ones.
    Problems that do not fit are left out.

    Raises:
        ValueError: the task has fewer training problems.
    """
    problems: dict[str, Problem] = {}
    for index in range(20 * count):
        problem = env.problem(seed, "train", index)
        if problem.key not in problems and fits(problem):
            problems[problem.key] = problem
        if len(problems) == count:
            return list(problems.values())
    raise ValueError(
        f"num_problems={count}: env {env.name} has only about {len(problems)} training problems whose prompts fit; "
        "ask for fewer"
    )


def refuse_held_out(problems: Iterable[Problem], held_out: Iterable[Problem]) -> None:
    """Check that no training problem is a held-out problem.

    Raises:
        ValueError: one is; the message names its key.
    """
    keys = {problem.key for problem in held_out}
    for problem in problems:
        if problem.key in keys:
            raise ValueError(
                f"env {problem.env}: the training problem {problem.key!r} is also a held-out problem, for which "
                "traces may not be sampled; remove it from the training split"
            )


def prompt_styles(env: Env) -> dict[str, str]:
    """Return the prompt style of each task by name; a mixed task has several."""
    return {task.name: getattr(task, "prompt_style", "base") for task in tasks_of(env)}


def restyled(env: Env, style: str) -> Env:
    """Return the same task with prompts in another style.

    Raises:
        ValueError: the task has no prompts in this style.
    """
    if isinstance(env, Mixed):
        return replace(env, parts={name: restyled(part, style) for name, part in env.parts.items()})
    return replace(env, prompt_style=style)


def rewritten(completion: str, sampled_prompt: str | Chat, prompt: str | Chat) -> str:
    """Return the completion after `prompt`, which opens the thought with or without a line break, so that the thought
    reads as it was sampled."""
    return (_after_opening(sampled_prompt) + completion).removeprefix(_after_opening(prompt))


def traces_of(problem: Problem, row: ProblemRow, independent: bool) -> list[Trace]:
    """Return the samples of a problem, or the one that the strategy chose if they are not independent samples."""
    candidates = row["candidates"]
    difficulty = share_correct(row)
    return [
        Trace(
            problem,
            candidate["text"],
            candidate["tokens"],
            candidate["correct"],
            candidate["finish_reason"] == "length",
            difficulty,
            index,
        )
        for index, candidate in enumerate(candidates)
        if independent or index == row["chosen"]
    ]


def share_correct(row: ProblemRow) -> float:
    """Return the share of correct candidates of a problem, 0..1."""
    return sum(candidate["correct"] for candidate in row["candidates"]) / len(row["candidates"])


def in_style(traces: Sequence[Trace], written: Mapping[str, Problem]) -> list[Trace]:
    """Return the traces with the prompts of `written`, the same problems by key in another prompt style."""
    return [
        replace(
            trace,
            problem=written[trace.problem.key],
            completion=rewritten(trace.completion, trace.problem.prompt, written[trace.problem.key].prompt),
        )
        for trace in traces
    ]


def _after_opening(prompt: str | Chat) -> str:
    begun = prompt if isinstance(prompt, str) else prompt.assistant
    return begun.rpartition(OPENING)[2] if OPENING in begun else ""

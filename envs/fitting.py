"""The problems of a task whose prompts fit the model.

A prompt of more than `model.max_prompt_tokens` would shorten its completions, or end the run once it exceeds the
model's context. Training problems with such prompts are replaced. Held-out problems never are, since accuracy would
then be measured on other problems: they are refused.
"""

import random
from collections.abc import Callable

from envs.env import Env
from envs.mixed import RANGE, tasks_in_use
from grpo.types import Chat, Problem

MAX_DRAWS = 100
CHECKED = 256  # training problems, spread over the run, that are drawn before it starts


class FittingProblems:
    """The problems of `env` whose prompts have at most `max_tokens` tokens.

    too_long  training problems that were replaced since the start, by key, with their tokens
    """

    def __init__(self, env: Env, max_tokens: int, count_tokens: Callable[[str | Chat], int]) -> None:
        self.env, self.max_tokens, self.count_tokens = env, max_tokens, count_tokens
        self.too_long: dict[str, int] = {}
        self.replaced = 0

    def fits(self, problem: Problem) -> bool:
        """Whether the prompt fits; if not, the problem is recorded in `too_long`."""
        tokens = self.count_tokens(problem.prompt)
        if tokens > self.max_tokens:
            self.too_long[problem.key] = tokens
        return tokens <= self.max_tokens

    def training(self, seed: int, index: int) -> Problem:
        """The training problem at `index`, or the problem that replaces it: the first that fits among problems at
        random indexes up to `index`, a function of the arguments alone.

        Raises:
            ValueError: none of MAX_DRAWS problems fits; `check` makes this all but impossible.
        """
        rng = random.Random(f"replacement/{seed}/{index}")
        problem = self.env.problem(seed, "train", index)
        for _ in range(MAX_DRAWS):
            if self.fits(problem):
                return problem
            self.replaced += 1
            problem = self.env.problem(seed, "train", rng.randrange(max(index + 1, RANGE)))
        raise ValueError(f"{self._seen(MAX_DRAWS, MAX_DRAWS)}; raise model.max_prompt_tokens")

    def held_out(self, count: int) -> list[Problem]:
        """`count` held-out problems.

        Raises:
            ValueError: the task has fewer, or a prompt is too long.
        """
        problems = self.env.eval_set(count)
        tokens = {problem.key: self.count_tokens(problem.prompt) for problem in problems}
        key = max(tokens, key=tokens.__getitem__, default="")
        if key and tokens[key] > self.max_tokens:
            longer = sum(number > self.max_tokens for number in tokens.values())
            raise ValueError(
                f"{longer} of {count} held-out problems have prompts of more than model.max_prompt_tokens="
                f"{self.max_tokens} tokens; the longest, {key!r}, has {tokens[key]}; set model.max_prompt_tokens="
                f"{tokens[key]}, or remove them from the data"
            )
        return problems

    def check(self, seed: int, count: int) -> str:
        """Draw problems spread over the first `count` of a run. Returns a note on those that are too long, or "".

        Raises:
            ValueError: a task has no training problems, or most of those drawn are too long.
        """
        for task in tasks_in_use(self.env):
            task.problem(seed, "train", 0)
        drawn = range(0, count, max(1, count // CHECKED))
        wrong = sum(not self.fits(self.env.problem(seed, "train", index)) for index in drawn)
        if wrong > len(drawn) // 2:
            raise ValueError(
                f"{self._seen(wrong, len(drawn))}; raise model.max_prompt_tokens, or choose other problems"
            )
        return f"{self._seen(wrong, len(drawn))}; others replace them" if wrong else ""

    def read_replaced(self) -> int:
        """The number of problems that were replaced since the last call."""
        replaced, self.replaced = self.replaced, 0
        return replaced

    def _seen(self, wrong: int, drawn: int) -> str:
        key, tokens = max(self.too_long.items(), key=lambda item: item[1])
        return (
            f"{wrong} of {drawn} training problems drawn have prompts of more than model.max_prompt_tokens="
            f"{self.max_tokens} tokens, such as {key!r} with {tokens}"
        )

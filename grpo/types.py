"""The vocabulary of the project as frozen dataclasses, from problem to group. This module does not import torch."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chat:
    """A prompt for a chat model, formatted by the tokenizer's template. The assistant's turn begins with `assistant`,
    and the completion continues it."""

    system: str
    user: str
    assistant: str

    def __str__(self) -> str:
        return f"System: {self.system}\nUser: {self.user}\nAssistant: {self.assistant}"

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns in the format of transformers."""
        turns = {"system": self.system, "user": self.user, "assistant": self.assistant}
        return [{"role": role, "content": content} for role, content in turns.items()]


def messages(prompt: str | Chat) -> str | list[dict[str, str]]:
    """A prompt as in the rows of train_sft.py: a chat as its messages, any other prompt unchanged."""
    return prompt.messages if isinstance(prompt, Chat) else prompt


@dataclass(frozen=True)
class Problem:
    """An instance of a task.

    key       the canonical form, by which training and held-out problems are kept apart: problems with the same key
              are the same problem
    answer    the ground truth
    fields    what the checker reads (countdown: `numbers` and `target`)
    metadata  properties by which a report can group problems
    """

    env: str
    key: str
    prompt: str | Chat
    answer: str
    fields: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Completion:
    """What the model generated for a prompt.

    token_ids          generated ids, including the end token if there is one
    behavior_logprobs  the sampler's log-probability of each id, same length
    finish_reason      "stop" (the model ended), "length" (truncated) or "stop_string" (a stop string was generated)
    weights_version    the version of the weights that generated it
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    behavior_logprobs: tuple[float, ...]
    finish_reason: str
    weights_version: int

    @property
    def truncated(self) -> bool:
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Score:
    """The result of grading a completion.

    reward      the weighted sum of `components`
    correct     exact correctness, whatever the reward consists of
    reason      the explanation in words
    error       why the grader failed, if it did; such failures are counted
    """

    reward: float
    correct: bool
    components: Mapping[str, float]
    reason: str
    error: str | None = None


@dataclass(frozen=True)
class Rollout:
    completion: Completion
    score: Score


@dataclass(frozen=True)
class Group:
    """The G rollouts of a problem."""

    problem: Problem
    rollouts: tuple[Rollout, ...]

    @property
    def rewards(self) -> list[float]:
        return [rollout.score.reward for rollout in self.rollouts]


@dataclass(frozen=True)
class SamplingParams:
    """How completions are sampled.

    temperature  0 is greedy decoding; recorded log-probabilities are those at this temperature
    max_tokens   the largest number of tokens to generate
    top_p        nucleus sampling; 1.0 keeps the whole distribution
    top_k        number of most likely tokens to sample from; 0 keeps the whole vocabulary
    stop         a completion also ends at the first of these strings, which is kept
    """

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A completion to generate. The seed belongs to the request, so which engine serves it, when, and in which batch
    changes the result only by rounding.

    prefix    token ids of a completion that was begun before and is continued
    sampling  parameters of this request, if they differ from those of the batch
    """

    prompt: str | Chat
    seed: int
    prefix: tuple[int, ...] = ()
    sampling: SamplingParams | None = None


def request_seed(*parts: object) -> int:
    """A seed in 0..2^63 - 1 that depends on `parts` alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sha256_of_problems(problems: Iterable[Problem]) -> str:
    """The identity of the problems with their prompts and all by which answers are checked: a file of problems may
    change between two starts."""
    found = hashlib.sha256()
    for problem in problems:
        content = repr((problem.key, problem.prompt, problem.answer, problem.fields))
        found.update(content.encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def in_request_order(completions: Iterable[tuple[int, Completion]]) -> list[Completion]:
    """All completions, sorted by the index of their request."""
    return [completion for _, completion in sorted(completions, key=lambda item: item[0])]

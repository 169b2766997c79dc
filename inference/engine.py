"""The words of inference-time scaling: what a strategy asks for, what it is given, what it hands back.

A strategy is a generator over one problem. It yields requests (completions to make, or candidates to
score) and is sent their answers; it does no work of its own, so that a runner can serve the requests
of many problems together. Nothing here needs torch.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from grpo.types import Chat, Completion, Problem


@dataclass(frozen=True)
class Ask:
    """One completion to make. It is a function of this and of the weights, whoever serves it beside what.

    max_tokens   the most new tokens, >= 1
    temperature  0 is greedy decoding
    written      tokens of the completion so far, after which the model goes on
    stop         strings in the new text that end it; the tokens that spell one are part of the completion
    """

    prompt: str | Chat
    seed: int
    max_tokens: int
    temperature: float = 1.0
    written: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()


class Codec(Protocol):
    """Text to tokens and back."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Without special tokens."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Special tokens left out."""


class Engine(Codec, Protocol):
    def generate(self, asks: Sequence[Ask]) -> list[Completion]:
        """A completion for each, in order. `token_ids` are the new tokens alone; `finish_reason` is "stop" when
        the last of them is the end token, "stop_string" when they spell one of `stop`, else "length"."""


@dataclass(frozen=True)
class Candidate:
    """What stands so far of one completion of a problem.

    text           decoded from all tokens
    logprobs       of each token at the temperature it was sampled at; None where the strategy forced it
    finish_reason  "stop" or "length" when it is whole, None when the model could go on
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    finish_reason: str | None

    @property
    def partial(self) -> bool:
        return self.finish_reason is None

    @property
    def sampled(self) -> list[float]:
        """The log-probabilities of the model's own tokens."""
        return [logprob for logprob in self.logprobs if logprob is not None]

    @property
    def logprob(self) -> float:
        return sum(self.sampled)

    @property
    def forced(self) -> int:
        """How many of the tokens are the strategy's, not the model's."""
        return self.logprobs.count(None)


@dataclass(frozen=True)
class Verify:
    """Candidates of the strategy's problem to score."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Outcome:
    """What a strategy made of a problem.

    candidates  the whole completions that it chose from
    details     what a report may want to know; plain data
    tokens      all tokens that were generated, those thrown away too, forced ones not; counted by the runner
    rounds      how often it asked for completions, one after the other; counted by the runner
    scored      how many candidates the verifier scored for it; counted by the runner
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 0
    rounds: int = 0
    scored: int = 0


Request = list[Ask] | Verify
Reply = list[Completion] | list[float] | None
T = TypeVar("T")
Steps = Generator[Request, Reply, T]  # part of a strategy, for `yield from`
Strategy = Steps[Outcome]
StrategyOf = Callable[[Problem, Codec], Strategy]


def complete(asks: Sequence[Ask]) -> Steps[list[Completion]]:
    reply = yield list(asks)
    return cast(list[Completion], reply)


def verify(candidates: Sequence[Candidate]) -> Steps[list[float]]:
    reply = yield Verify(tuple(candidates))
    return cast(list[float], reply)


def seed_of(*parts: str | int) -> int:
    """A seed in 0..2^63 - 1 that is a function of its parts alone."""
    digest = hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def require(condition: bool, key: str, value: object, allowed: str) -> None:
    """Refuse a setting.

    Raises:
        ValueError: `condition` does not hold.
    """
    if not condition:
        raise ValueError(f"{key} must be {allowed}, got {value!r}")

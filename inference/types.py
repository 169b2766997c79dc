"""The types that strategies, verifiers and the runner share. Needs no torch.

A strategy is called with a problem and returns a generator. The generator yields completion requests or candidates
to score, receives the completions or the scores, and returns a `StrategyOutput`. It performs no generation itself,
so that the runner (inference/runner.py) can batch the requests of many problems.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from grpo.types import Chat, Completion, Problem, Request


class Codec(Protocol):
    """Converts text to token ids and back, and knows how long a prompt may be."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of the text, without added special tokens."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of the token ids, without special tokens."""

    def fits(self, prompt: str | Chat) -> bool:
        """Return whether the model's context has room for the prompt and a whole completion."""


class Engine(Codec, Protocol):
    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Return one completion per request, in request order.

        `token_ids` holds only the new tokens. `finish_reason` is "stop" if the last of them is the end-of-sequence
        token, "stop_string" if they contain one of `sampling.stop`, and "length" otherwise.
        """


@dataclass(frozen=True)
class Candidate:
    """A completion of a problem, finished or still being extended.

    text           decoded from all tokens
    logprobs       the log-probability of each token at its sampling temperature; None for a forced token, that is,
                   one inserted by the strategy
    finish_reason  "stop", "length" or, for a direct answer, "stop_string" if the completion is finished; None if the
                   model can continue it
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    finish_reason: str | None

    @property
    def partial(self) -> bool:
        return self.finish_reason is None

    @property
    def sampled_logprobs(self) -> list[float]:
        """The log-probabilities of the tokens that the model sampled."""
        return [logprob for logprob in self.logprobs if logprob is not None]

    @property
    def logprob(self) -> float:
        """The sum over the sampled tokens, in nats."""
        return sum(self.sampled_logprobs)

    @property
    def forced_tokens(self) -> int:
        return self.logprobs.count(None)


Item = tuple[Problem, Candidate]


class Verifier(Protocol):
    def score(self, items: Sequence[Item]) -> list[float]:
        """Return a score for each candidate; higher is better.

        The candidates may belong to different problems. The score of a candidate does not depend on the others.
        """


@dataclass(frozen=True)
class Verify:
    """A strategy's request to score candidates of its problem."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class StrategyOutput:
    """The result of a strategy on one problem.

    candidates  the finished completions among which the strategy chose
    details     figures for reports, serializable as JSON
    tokens      number of generated tokens, discarded ones included and forced ones excluded; set by the runner
    rounds      number of times the strategy requested completions; set by the runner
    scored      number of candidates scored by the verifier; set by the runner
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 0
    rounds: int = 0
    scored: int = 0


Reply = list[Completion] | list[float] | None
T = TypeVar("T")
Routine = Generator[list[Request] | Verify, Reply, T]  # a strategy or a part of it, for `yield from`
Strategy = Callable[[Problem, Codec], Routine[StrategyOutput]]


def complete(requests: Sequence[Request]) -> Routine[list[Completion]]:
    """Request completions; returns them in request order."""
    reply = yield list(requests)
    return cast(list[Completion], reply)


def verify(candidates: Sequence[Candidate]) -> Routine[list[float]]:
    """Request the verifier's scores of the candidates."""
    reply = yield Verify(tuple(candidates))
    return cast(list[float], reply)

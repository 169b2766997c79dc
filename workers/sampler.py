"""What the rollout worker asks of a generation backend."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from grpo.types import Chat, Completion
from workers.weight_sync import Weights


@dataclass(frozen=True)
class Sampling:
    """temperature 0 is greedy decoding; log-probabilities are those at this temperature, after the cut by
    top_p and top_k (1.0 and 0 cut nothing). A completion ends, too, with the first string of `stop` in it."""

    temperature: float
    max_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One completion to make. The seed belongs to the request, so that who serves it, when and
    beside which others makes no difference.

    written   tokens of the completion so far, after which the model goes on
    sampling  its own, where it differs from that of the requests beside it
    """

    prompt: str | Chat
    seed: int
    written: tuple[int, ...] = ()
    sampling: Sampling | None = None


class Sampler(Protocol):
    version: int

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """One completion a request, as they are finished, each with the place of its request."""

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights in place, unless they came directly (without a path); from now on they have this
        version."""

    def sleep(self) -> None:
        """Give the GPU memory back; nothing is generated before the next weights."""

    def wake(self) -> None:
        """Take memory for new weights, if it was given back."""


def in_order(completions: Iterable[tuple[int, Completion]]) -> list[Completion]:
    """All of them, in the order of their requests."""
    return [completion for _, completion in sorted(completions, key=lambda item: item[0])]


def request_seed(*parts: object) -> int:
    """A seed in 0..2^63 - 1 that is a function of its parts alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

"""What the rollout worker asks of a generation backend."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from grpo.types import Completion, Request, SamplingParams
from workers.weight_sync import Weights


class Sampler(Protocol):
    version: int

    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """One completion a request, as they are finished, each with the place of its request."""

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights in place, unless they came directly (without a path); from now on they have this
        version."""

    def sleep(self) -> None:
        """Give the GPU memory back; nothing is generated before the next weights."""

    def wake(self) -> None:
        """Take memory for new weights, if it was given back."""

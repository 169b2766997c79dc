"""The interface of a generation backend, which runs in a worker process."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from grpo.types import Completion, Request, SamplingParams
from workers.rank_group import RankInfo
from workers.stacks import announce
from workers.weights import Weights

CHUNK_COMPLETIONS = 16  # per message, since each message costs a millisecond


class Sampler(ABC):
    """A model that generates completions. `version` is that of its weights."""

    def __init__(self, info: RankInfo) -> None:
        self.stack = announce(info)
        self.version = 0

    def ready(self) -> None:  # noqa: B027
        """Return when the model is loaded."""

    @abstractmethod
    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Yield (request index, completion) as each one finishes."""

    @abstractmethod
    def load_weights(self, weights: Weights) -> None:
        """Replace the weights in place, unless they were sent directly, and generate with this version from now on."""

    def stream(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[list[tuple[int, Completion]]]:
        """`generate`, several completions at a time."""
        chunk: list[tuple[int, Completion]] = []
        for item in self.generate(requests, sampling):
            chunk.append(item)
            if len(chunk) == CHUNK_COMPLETIONS:
                yield chunk
                chunk = []
        yield chunk

    def sleep(self) -> None:  # noqa: B027 - a backend without GPU memory has nothing to release
        """Release the GPU's memory until new weights arrive."""

    def wake(self) -> None:  # noqa: B027
        """Allocate memory for new weights, if it was released."""

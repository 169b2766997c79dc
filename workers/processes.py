"""The workers of the trio: what lives in Ray's processes, and only passes calls on to the plain classes
beside it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from conf.schema import Config
from grpo.batching import Batch
from grpo.types import Completion, Request, SamplingParams
from workers.policy import Policy, TrainedPolicy
from workers.ranks import join
from workers.sampler import Sampler
from workers.waiting import announce
from workers.weight_sync import Weights

SENT_TOGETHER = 16  # completions a message: each costs a millisecond


@dataclass(frozen=True)
class Seat:
    """What a process is told about itself. address: "host:port" where the ranks of its role meet; folder: the
    run's in shared memory."""

    role: str
    rank: int
    size: int
    address: str
    device: str
    folder: Path


class ModelWorker:
    """A rank of the actor or of the reference, which has met the others."""

    def __init__(self, cfg: Config, seat: Seat) -> None:
        self.stack = announce(seat.folder, seat.role, seat.rank)
        self.folder = seat.folder
        torch.set_num_threads(cfg.topology.num_threads(seat.size))
        self.ranks = join(seat.address, seat.rank, seat.size, seat.device, cfg.topology.timeout_s)

    def ready(self) -> None:
        """Answered when the model is loaded."""


class ActorWorker(ModelWorker):
    def __init__(self, cfg: Config, seat: Seat) -> None:
        super().__init__(cfg, seat)
        offload = cfg.topology.offload_actor
        self.policy = TrainedPolicy(cfg.model, cfg.algorithm, seat.device, cfg.num_steps, self.ranks, offload)
        self.policy.rest()
        self.sender: Any = None

    def logprobs(self, batch: Batch) -> torch.Tensor:
        return self.policy.logprobs(batch)

    def ref_logprobs(self, batch: Batch) -> torch.Tensor:
        return self.policy.ref_logprobs(batch)

    def update(self, batch: Batch) -> dict[str, float]:
        return self.policy.update(batch)

    def publish(self, version: int) -> Weights:
        weights = self.policy.publish(self.folder, version, keep=self.sender is None)
        if self.sender is None:
            self.policy.rest()
        return weights

    def connect(self, backend: str, rank: int, address: str, handles: Sequence[Any], receivers: int) -> None:
        """From now on weights go to the rollout workers directly."""
        from workers.direct_transfer import make_sender

        self.sender = make_sender(backend, rank, address, handles, receivers, self.policy.walk)

    def send(self) -> None:
        self.sender.send_weights()
        self.policy.rest()

    def save(self, folder: Path) -> None:
        self.policy.save(folder)
        self.policy.rest()

    def load(self, folder: Path) -> None:
        self.policy.load(folder)


class ReferenceWorker(ModelWorker):
    def __init__(self, cfg: Config, seat: Seat) -> None:
        super().__init__(cfg, seat)
        self.policy = Policy(cfg.model, cfg.algorithm, seat.device, self.ranks, cfg.topology.offload_reference)
        self.policy.rest()

    def ref_logprobs(self, batch: Batch) -> torch.Tensor:
        logprobs = self.policy.logprobs(batch)
        self.policy.rest()
        return logprobs

    def load_weights(self, weights: Weights) -> None:
        self.policy.load_weights(weights)

    def save(self, path: Path) -> None:
        self.policy.save_weights(path)

    def load(self, path: Path) -> None:
        self.policy.read_weights(path)


class RolloutWorker:
    def __init__(self, cfg: Config, seat: Seat) -> None:
        self.stack = announce(seat.folder, seat.role, seat.rank)
        self.sampler: Sampler
        if cfg.rollout.backend == "vllm":
            from workers.vllm_sampler import VllmSampler

            if cfg.rollout.tensor_parallel_size > 1:
                # Ray hides all GPUs from a process that takes none; this one leads those that do.
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            self.sampler = VllmSampler(cfg.model, cfg.rollout, seat.device, cfg.topology)
        else:
            from workers.transformers_sampler import TransformersSampler

            torch.set_num_threads(cfg.rollout.threads)
            self.sampler = TransformersSampler(cfg.model, cfg.rollout, seat.device)

    def ready(self) -> None:
        """Answered when the model is loaded."""

    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[list[tuple[int, Completion]]]:
        """Completions by the place of their request, a few at a time as they are finished."""
        finished: list[tuple[int, Completion]] = []
        for item in self.sampler.generate(requests, sampling):
            finished.append(item)
            if len(finished) == SENT_TOGETHER:
                yield finished
                finished = []
        yield finished

    def load_weights(self, weights: Weights) -> None:
        self.sampler.load_weights(weights)

    def sleep(self) -> None:
        self.sampler.sleep()

    def wake(self) -> None:
        self.sampler.wake()

    # What vLLM's sender asks of whoever receives weights directly; only vLLM can.

    def init_weight_transfer_engine(self, request: Any) -> None:
        self.sampler.llm.init_weight_transfer_engine(request)  # type: ignore[attr-defined]

    def start_weight_update(self) -> None:
        self.sampler.llm.start_weight_update()  # type: ignore[attr-defined]

    def update_weights(self, request: Any) -> None:
        self.sampler.llm.update_weights(request)  # type: ignore[attr-defined]

    def finish_weight_update(self) -> None:
        self.sampler.llm.finish_weight_update()  # type: ignore[attr-defined]

"""The workers of the trio: what lives in Ray's processes, and only passes calls on to the plain classes
beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from conf.schema import Config
from grpo.batching import Batch
from grpo.types import Completion
from workers.policy import Policy, TrainedPolicy
from workers.sampler import Request, Sampler, Sampling
from workers.weight_sync import Weights

SENT_TOGETHER = 16  # completions a message: each costs a millisecond


class ActorWorker:
    def __init__(self, cfg: Config, device: str, folder: Path) -> None:
        torch.set_num_threads(cfg.topology.num_threads)
        self.policy = TrainedPolicy(cfg.model, cfg.algorithm, device, cfg.num_steps)
        self.folder = folder

    def logprobs(self, batch: Batch) -> torch.Tensor:
        return self.policy.logprobs(batch)

    def ref_logprobs(self, batch: Batch) -> torch.Tensor:
        return self.policy.ref_logprobs(batch)

    def update(self, batch: Batch) -> dict[str, float]:
        return self.policy.update(batch)

    def publish(self, version: int) -> Weights:
        return self.policy.publish(self.folder, version)

    def save(self, folder: Path) -> None:
        self.policy.save(folder)

    def load(self, folder: Path) -> None:
        self.policy.load(folder)


class ReferenceWorker:
    def __init__(self, cfg: Config, device: str) -> None:
        torch.set_num_threads(cfg.topology.num_threads)
        self.policy = Policy(cfg.model, cfg.algorithm, device)

    def ref_logprobs(self, batch: Batch) -> torch.Tensor:
        return self.policy.logprobs(batch)

    def load_weights(self, weights: Weights) -> None:
        self.policy.load_weights(weights)

    def save(self, path: Path) -> None:
        self.policy.save_weights(path)

    def load(self, path: Path) -> None:
        self.policy.read_weights(path)


class RolloutWorker:
    def __init__(self, cfg: Config, device: str) -> None:
        self.sampler: Sampler
        if cfg.rollout.backend == "vllm":
            from workers.vllm_sampler import VllmSampler

            self.sampler = VllmSampler(cfg.model, cfg.rollout, device)
        else:
            from workers.transformers_sampler import TransformersSampler

            torch.set_num_threads(cfg.rollout.threads)
            self.sampler = TransformersSampler(cfg.model, cfg.rollout, device)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[list[tuple[int, Completion]]]:
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

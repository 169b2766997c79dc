"""The trio as the driver sees it: the actor that trains, the reference that stays, the workers that generate.

`Trio`, `Actor` and `Reference` are handles of the workers in workers/processes.py.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import ActorDiedError

from conf.schema import Config
from grpo.batching import Batch
from workers.interrupt import Interrupt
from workers.processes import ActorWorker, ReferenceWorker
from workers.rollout import Rollout
from workers.session import Clock, pick_device, ray_session
from workers.weight_sync import Weights, remove, shared_folder

REFERENCE = "reference.safetensors"  # in a checkpoint, where the reference moves


class Actor:
    def __init__(self, worker: Any, clock: Clock) -> None:
        self.worker, self.clock = worker, clock

    def update(self, batch: Batch) -> dict[str, float]:
        return self.clock.wait("update", self.worker.update.remote(batch))

    def weights(self, version: int) -> Weights:
        return self.clock.wait("weight_sync", self.worker.publish.remote(version))

    def save(self, path: Path) -> None:
        self.clock.wait("checkpoint", self.worker.save.remote(path))

    def load(self, path: Path) -> None:
        self.clock.wait("checkpoint", self.worker.load.remote(path))


class Reference:
    """The policy that the KL is measured to: a worker of its own, or the actor without its adapter."""

    def __init__(self, worker: Any, clock: Clock) -> None:
        self.worker, self.clock = worker, clock

    def load_weights(self, weights: Weights) -> None:
        self.clock.wait("weight_sync", self.worker.load_weights.remote(weights))

    def save(self, path: Path) -> None:
        self.clock.wait("checkpoint", self.worker.save.remote(path))

    def load(self, path: Path) -> None:
        self.clock.wait("checkpoint", self.worker.load.remote(path))


@dataclass(frozen=True)
class Trio:
    """gpus           the names of those that the run takes, none on a CPU
    replace_every  steps after which the reference takes the actor's weights, 0 for never
    """

    actor: Actor
    rollout: Rollout
    reference: Reference | None
    clock: Clock
    device: str
    gpus: list[str]
    replace_every: int

    def with_logprobs(self, batch: Batch) -> Batch:
        """The batch with `old_logprobs` and, where there is a reference, `ref_logprobs`."""
        shared = ray.put(batch)
        pending = [self.actor.worker.logprobs.remote(shared)]
        if self.reference is not None:
            pending.append(self.reference.worker.ref_logprobs.remote(shared))
        old, *ref = self.clock.wait("logprobs", pending)
        return replace(batch, old_logprobs=old, ref_logprobs=ref[0] if ref else None)

    def load_weights(self, weights: Weights) -> None:
        """After a step: the rollout workers take the actor's new weights, and at its time the reference."""
        self.rollout.load_weights(weights)
        if self.reference is not None and self.replace_every and weights.version % self.replace_every == 0:
            self.reference.load_weights(weights)

    def save(self, folder: Path) -> None:
        self.actor.save(folder)
        if self.reference is not None and self.replace_every:
            self.reference.save(folder / REFERENCE)

    def load(self, folder: Path) -> None:
        self.actor.load(folder)
        if self.reference is not None and self.replace_every:
            self.reference.load(folder / REFERENCE)


@contextmanager
def start_trio(cfg: Config, interrupt: Interrupt) -> Iterator[Trio]:
    """Start Ray and the workers of a run; on the way out, whatever happened, end them all.

    Raises:
        RuntimeError: a worker died while it started.
    """
    device = pick_device(cfg.topology.device)
    folder = shared_folder(Path("outputs", cfg.run))
    try:
        with ray_session(cfg, device, interrupt):
            yield _workers(cfg, device, Clock(interrupt), folder)
    finally:
        remove(folder)


def _workers(cfg: Config, device: str, clock: Clock, folder: Path) -> Trio:
    shares = (cfg.topology.actor_gpu_share, cfg.topology.reference_gpu_share)
    actor_gpus, reference_gpus = shares if device == "cuda" else (0, 0)
    actor = ray.remote(ActorWorker).options(num_cpus=1, num_gpus=actor_gpus).remote(cfg, device, folder)
    rollout = Rollout(cfg, device, clock)
    reference = None
    if cfg.algorithm.uses_reference and cfg.model.lora.rank:
        reference = actor
    elif cfg.algorithm.uses_reference:
        reference = ray.remote(ReferenceWorker).options(num_cpus=1, num_gpus=reference_gpus).remote(cfg, device)
    workers = [actor, *rollout.workers] + ([reference] if reference is not None else [])
    try:
        clock.wait("start", [worker.__ray_ready__.remote() for worker in workers], interruptible=True)
    except ActorDiedError as error:
        raise RuntimeError(f"a worker died while it started: {error}") from error
    handle = Reference(reference, clock) if reference is not None else None
    replace_every = cfg.algorithm.kl.replace_every
    return Trio(Actor(actor, clock), rollout, handle, clock, device, gpus_of(cfg, device), replace_every)


def gpus_of(cfg: Config, device: str) -> list[str]:
    """The names of the GPUs that the trio's shares add up to."""
    if device == "cpu":
        return []
    shares = cfg.topology.actor_gpu_share + cfg.rollout.replicas * cfg.topology.rollout_gpu_share
    shares += cfg.topology.reference_gpu_share if cfg.algorithm.uses_reference else 0
    return [torch.cuda.get_device_name(0)] * math.ceil(shares)

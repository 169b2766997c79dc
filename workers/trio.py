"""The trio as the driver sees it: the actor that trains, the reference that stays, the workers that generate.

`Trio`, `Actor` and `Reference` are handles of the workers in workers/processes.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch

from conf.schema import Config
from grpo.batching import Batch
from workers.interrupt import Interrupt
from workers.layout import check_ranks
from workers.placement import address_at
from workers.processes import ActorWorker, ReferenceWorker, Seat
from workers.rollout import Rollout
from workers.session import Session, pick_device, ray_session
from workers.waiting import Clock, Pending, Worker
from workers.weight_sync import SHM, Weights, transfer_of

REFERENCE = "reference.safetensors"  # in a checkpoint, where the reference moves


class Model:
    """The ranks that hold a model, called together."""

    def __init__(self, workers: Sequence[Worker], clock: Clock) -> None:
        self.workers, self.clock = workers, clock

    def ask(self, method: str, *args: Any) -> list[Pending]:
        return [worker.ask(method, *args) for worker in self.workers]

    def call(self, phase: str, method: str, *args: Any) -> Any:
        """The first rank's answer, when all have given theirs."""
        return self.clock.wait(phase, self.ask(method, *args))[0]

    def save(self, path: Path) -> None:
        self.call("checkpoint", "save", path.absolute())  # on other nodes there is another working directory

    def load(self, path: Path) -> None:
        self.call("checkpoint", "load", path.absolute())


class Actor(Model):
    def update(self, batch: Batch) -> dict[str, float]:
        return self.call("update", "update", ray.put(batch))

    def weights(self, version: int) -> Weights:
        return self.call("weight_sync", "publish", version)


class Reference(Model):
    """The policy that the KL is measured to: workers of its own, or the actor without its adapter."""

    def load_weights(self, weights: Weights) -> None:
        self.call("weight_sync", "load_weights", weights)


@dataclass(frozen=True)
class Trio:
    """gpus           the names of those that the run takes, none on a CPU
    sleeps         the rollout workers give their memory to the actor while it trains
    direct         weights are sent from GPU to GPU
    ref_sync_steps  steps after which the reference takes the actor's weights, 0 for never
    """

    actor: Actor
    rollout: Rollout
    reference: Reference | None
    clock: Clock
    device: str
    gpus: list[str]
    sleeps: bool
    direct: bool
    ref_sync_steps: int

    def with_logprobs(self, batch: Batch) -> Batch:
        """The batch with `old_logprobs` and, where there is a reference, `ref_logprobs`."""
        if self.sleeps:
            self.rollout.sleep()
        shared = ray.put(batch)
        pending = self.actor.ask("logprobs", shared)
        count = len(pending)
        if self.reference is not None:
            pending += self.reference.ask("ref_logprobs", shared)
        parts = self.clock.wait("logprobs", pending)  # each rank's own rows, 0 elsewhere
        old, ref = (torch.stack(of_role).sum(0) if of_role else None for of_role in (parts[:count], parts[count:]))
        return replace(batch, old_logprobs=old, ref_logprobs=ref)

    def load_weights(self, weights: Weights) -> None:
        """After a step: the rollout workers take the actor's new weights, and at its time the reference."""
        self.give_weights(weights)
        if self.reference is not None and self.ref_sync_steps and weights.version % self.ref_sync_steps == 0:
            self.reference.load_weights(weights)

    def give_weights(self, weights: Weights) -> None:
        """To the rollout workers alone."""
        if self.direct:
            self.rollout.wake()
            self.actor.call("weight_sync", "send")
        self.rollout.load_weights(weights)

    def save(self, folder: Path) -> None:
        self.actor.save(folder)
        if self.reference is not None and self.ref_sync_steps:
            self.reference.save(folder / REFERENCE)

    def load(self, folder: Path) -> None:
        self.actor.load(folder)
        if self.reference is not None and self.ref_sync_steps:
            self.reference.load(folder / REFERENCE)


@contextmanager
def start_trio(cfg: Config, interrupt: Interrupt) -> Iterator[Trio]:
    """Start Ray and the workers of a run; on the way out, whatever happened, end them all.

    Raises:
        ValueError: the topology does not fit the GPUs.
        WorkerDied: a worker died while it started.
    """
    device = pick_device(cfg.topology.device)
    with ray_session(cfg, device, interrupt) as session:
        yield _workers(cfg, session)


def _workers(cfg: Config, session: Session) -> Trio:
    topology, clock = cfg.topology, session.clock
    check_ranks(cfg, session.layout)
    rollout = Rollout(cfg, session)
    if session.device == "cuda" and topology.colocate:
        rollout.ready()  # vLLM measures the memory of its GPU, and others who take some then would mislead it
    actor = Actor(_ranks(ActorWorker, "actor", topology.actor_gpu_share, cfg, session), clock)
    reference = None
    if cfg.algorithm.uses_reference and cfg.model.lora.rank:
        reference = Reference(actor.workers, clock)
    elif cfg.algorithm.uses_reference:
        workers = _ranks(ReferenceWorker, "reference", topology.reference_gpu_share, cfg, session)
        reference = Reference(workers, clock)
    models = actor.ask("ready") + (reference.ask("ready") if reference is not None else [])
    clock.wait("start", models, interruptible=True)
    rollout.ready()
    sleeps = session.device == "cuda" and topology.colocate and topology.enable_sleep_mode
    ref_sync_steps = cfg.algorithm.kl.ref_sync_steps
    direct = transfer_of(topology, session.device) != SHM
    if direct:
        _connect(actor, rollout, cfg, session)
    return Trio(actor, rollout, reference, clock, session.device, _gpus(session), sleeps, direct, ref_sync_steps)


def _connect(actor: Actor, rollout: Rollout, cfg: Config, session: Session) -> None:
    """Let the actor's ranks and the rollout workers meet, for weights that go from GPU to GPU."""
    address = address_at(actor.workers[0].place, local=cfg.topology.ray_address is None)
    handles = [worker.handle for worker in rollout.workers]
    backend = cfg.topology.weight_transfer
    pending = [
        worker.ask("connect", backend, worker.rank, address, handles, rollout.processes) for worker in actor.workers
    ]
    session.clock.wait("start", pending, interruptible=True)


def _ranks(kind: type, role: str, share: float, cfg: Config, session: Session) -> list[Worker]:
    """The processes of a role that holds a model, each in its place."""
    places = [session.places[place] for place in session.layout.actor]
    address = address_at(places[0], local=cfg.topology.ray_address is None)
    workers = []
    for rank, place in enumerate(places):
        seat = Seat(role, rank, len(places), address, session.device, session.folder)
        options = {"num_cpus": 1, "num_gpus": share if session.gpus else 0, "scheduling_strategy": place}
        handle = ray.remote(kind).options(**options).remote(cfg, seat)
        workers.append(Worker(role, rank, handle, place, session.folder))
    return workers


def _gpus(session: Session) -> list[str]:
    if session.device == "cpu":
        return []
    return [torch.cuda.get_device_name(0)] * session.layout.places

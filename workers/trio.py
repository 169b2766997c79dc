"""The trio as Ray actors: the actor that trains, the reference that stays, the workers that generate.

`Trio`, `Actor`, `Reference` and `Rollout` are the driver's handles of the workers in workers/processes.py.
"""

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import ActorDiedError, RayActorError

from conf.schema import Config
from grpo.batching import Batch
from grpo.types import Completion
from workers.interrupt import Interrupt
from workers.processes import ActorWorker, ReferenceWorker, RolloutWorker
from workers.sampler import Request, Sampling
from workers.weight_sync import Weights, remove, shared_folder

REPOSITORY = Path(__file__).resolve().parent.parent
MAX_RESTARTS = 5
REFERENCE = "reference.safetensors"  # in a checkpoint, where the reference moves
# Threads that spin while they wait starve the other workers on a few cores.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


@dataclass
class Clock:
    """Seconds spent waiting for each phase since it was last read."""

    interrupt: Interrupt
    seconds: dict[str, float] = field(default_factory=dict)

    def wait(self, phase: str, pending: Any, interruptible: bool = False) -> Any:
        """The result of a Ray reference or a list of them; an interruptible wait ends early, by
        `Interrupted`, when the user asks the run to stop."""
        started = time.monotonic()
        refs = pending if isinstance(pending, list) else [pending]
        while len(ray.wait(refs, num_returns=len(refs), timeout=0.2)[0]) < len(refs):
            if interruptible:
                self.interrupt.check()
        result = ray.get(pending)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started
        return result

    def first_ready(self, phase: str, streams: list[Any]) -> Any:
        """The first of Ray's streams that has an item or has ended; interruptible."""
        started = time.monotonic()
        while not (ready := ray.wait(streams, timeout=0.2)[0]):
            self.interrupt.check()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started
        return ready[0]

    def read(self) -> dict[str, float]:
        seconds, self.seconds = self.seconds, {}
        return seconds


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


class Rollout:
    """The rollout workers as one. They hold no state but weights of a version: one that dies is
    started again, given the weights, and asked for the same requests with the same seeds."""

    def __init__(self, cfg: Config, device: str, clock: Clock) -> None:
        self.cfg, self.device, self.clock = cfg, device, clock
        self.workers = [self._start() for _ in range(cfg.rollout.replicas)]
        self.current: Weights | None = None
        self.restarts = 0

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, phase: str = "generate"
    ) -> Iterator[tuple[int, Completion]]:
        """One completion a request, as they are finished, each with the place of its request; the
        requests are dealt out to the replicas."""
        count = len(self.workers)

        def ask(replica: int) -> Any:
            method = self.workers[replica].generate.options(num_returns="streaming")
            return method.remote(requests[replica::count], sampling)

        streams = {ask(replica): replica for replica in range(count)}
        seen: set[int] = set()
        while streams:
            stream = self.clock.first_ready(phase, list(streams))
            replica = streams[stream]
            try:
                finished = ray.get(next(stream))
            except StopIteration:
                del streams[stream]
                continue
            except RayActorError:
                del streams[stream]
                self._replace(replica)
                streams[ask(replica)] = replica
                continue
            for index, completion in finished:
                place = replica + index * count
                if place not in seen:
                    seen.add(place)
                    yield place, completion

    def load_weights(self, weights: Weights) -> None:
        self.current = weights
        pending = [worker.load_weights.remote(weights) for worker in self.workers]
        for replica, done in enumerate(pending):
            try:
                self.clock.wait("weight_sync", done)
            except RayActorError:
                self._replace(replica)

    def _replace(self, place: int) -> None:
        self.restarts += 1
        if self.restarts > MAX_RESTARTS:
            raise RuntimeError(f"rollout workers died more than {MAX_RESTARTS} times in this run; see the Ray logs")
        self.workers[place] = self._start()
        if self.current is not None:
            self.clock.wait("restart", self.workers[place].load_weights.remote(self.current))

    def _start(self) -> Any:
        environment = {"OMP_NUM_THREADS": str(self.cfg.rollout.threads)}
        if self.cfg.rollout.backend == "vllm":
            from workers.vllm_environment import environment_for

            environment |= environment_for(self.device)
        gpus = self.cfg.topology.rollout_gpu_share if self.device == "cuda" else 0
        options = {"num_cpus": 1, "num_gpus": gpus, "runtime_env": {"env_vars": environment}}
        return ray.remote(RolloutWorker).options(**options).remote(self.cfg, self.device)


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
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token to the home folder
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"PYTHONPATH": str(REPOSITORY)} | (PATIENT_THREADS if device == "cpu" else {})
    on_gpu = device == "cuda"
    local = {} if cfg.topology.ray_address else {"num_cpus": 2 + cfg.rollout.replicas, "include_dashboard": False}
    with shielded_from_sigterm():
        ray.init(
            address=cfg.topology.ray_address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": environment},
            **local,
        )
    interrupt.listen()  # after Ray, which takes SIGTERM for itself
    clock, folder = Clock(interrupt), shared_folder(Path("outputs", cfg.run))
    try:
        shares = (cfg.topology.actor_gpu_share, cfg.topology.reference_gpu_share)
        actor_gpus, reference_gpus = shares if on_gpu else (0, 0)
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
        yield Trio(
            Actor(actor, clock), rollout, handle, clock, device, gpus_of(cfg, device), cfg.algorithm.kl.replace_every
        )
    finally:
        ray.shutdown()
        remove(folder)


def gpus_of(cfg: Config, device: str) -> list[str]:
    """The names of the GPUs that the trio's shares add up to."""
    if device == "cpu":
        return []
    shares = cfg.topology.actor_gpu_share + cfg.rollout.replicas * cfg.topology.rollout_gpu_share
    shares += cfg.topology.reference_gpu_share if cfg.algorithm.uses_reference else 0
    return [torch.cuda.get_device_name(0)] * math.ceil(shares)


@contextmanager
def shielded_from_sigterm() -> Iterator[None]:
    """Processes started within ignore SIGTERM. A signal to the whole process group, as `timeout`
    and batch systems send it, would else end Ray before the run could write its checkpoint."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def pick_device(wanted: str) -> str:
    """ "cpu" or "cuda".

    Raises:
        ValueError: a GPU is asked for and PyTorch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("topology.device=cuda, but PyTorch sees no GPU; choose cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"

"""The rollout workers as the driver sees them: one generator over several processes."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from conf.schema import Config
from grpo.types import Completion, Request, SamplingParams
from workers.placement import bundles
from workers.processes import RolloutWorker, Seat
from workers.session import Session
from workers.waiting import Worker, WorkerDied
from workers.weight_sync import Weights

MAX_RESTARTS = 5


class Rollout:
    """The rollout workers as one. They hold no state but weights of a version: one that dies is
    started again, given the weights, and asked for the same requests with the same seeds."""

    def __init__(self, cfg: Config, session: Session) -> None:
        self.cfg, self.session, self.clock = cfg, session, session.clock
        self.workers = [self._start(replica) for replica in range(self.replicas)]
        self.current: Weights | None = None
        self.restarts = 0

    @property
    def replicas(self) -> int:
        return len(self.session.layout.rollout)

    @property
    def processes(self) -> int:
        """Tensor-parallel ranks counted each."""
        return sum(len(places) for places in self.session.layout.rollout)

    def ready(self) -> None:
        """Wait until all have loaded the model."""
        self.clock.wait("start", [worker.ask("ready") for worker in self.workers], interruptible=True)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingParams, phase: str = "generate"
    ) -> Iterator[tuple[int, Completion]]:
        """One completion a request, as they are finished, each with the place of its request; the
        requests are dealt out to the replicas, which begin now."""
        streams = {self._ask(replica, requests, sampling): self.workers[replica] for replica in range(self.replicas)}
        return self._finished(streams, requests, sampling, phase)

    def load_weights(self, weights: Weights) -> None:
        """Each takes them after what it was asked for before."""
        self.current = weights
        pending = [worker.ask("load_weights", weights) for worker in self.workers]
        for replica, done in enumerate(pending):
            try:
                self.clock.wait("weight_sync", [done])
            except WorkerDied:
                self._replace(replica)

    def sleep(self) -> None:
        """Give the memory back that the actor needs, until the next weights come."""
        self.clock.wait("sleep", [worker.ask("sleep") for worker in self.workers])

    def wake(self) -> None:
        self.clock.wait("sleep", [worker.ask("wake") for worker in self.workers])

    def _ask(self, replica: int, requests: Sequence[Request], sampling: SamplingParams) -> Any:
        method = self.workers[replica].handle.generate.options(num_returns="streaming")
        return method.remote(requests[replica :: self.replicas], sampling)

    def _finished(
        self, streams: dict[Any, Worker], requests: Sequence[Request], sampling: SamplingParams, phase: str
    ) -> Iterator[tuple[int, Completion]]:
        seen: set[int] = set()
        while streams:
            stream = self.clock.first_ready(phase, streams)
            replica = streams[stream].rank
            try:
                finished = ray.get(next(stream))
            except StopIteration:
                del streams[stream]
                continue
            except RayActorError:
                if streams.pop(stream) is self.workers[replica]:  # else it was found dead and replaced before
                    self._replace(replica)
                streams[self._ask(replica, requests, sampling)] = self.workers[replica]
                continue
            for index, completion in finished:
                place = replica + index * self.replicas
                if place not in seen:
                    seen.add(place)
                    yield place, completion

    def _replace(self, replica: int) -> None:
        """Start a dead worker again in its place.

        Raises:
            WorkerDied: the whole run must go on from its checkpoint: the place is gone with its node, or weights
                reach a new worker only when all connect again.
        """
        self.restarts += 1
        if self.session.lost_a_node() or (self.current is not None and not self.current.path):
            raise WorkerDied(f"{self.workers[replica].name} died")
        if self.restarts > MAX_RESTARTS:
            raise RuntimeError(f"rollout workers died more than {MAX_RESTARTS} times in this run; see the Ray logs")
        self.workers[replica] = self._start(replica)
        if self.current is not None:
            self.clock.wait("restart", [self.workers[replica].ask("load_weights", self.current)])

    def _start(self, replica: int) -> Worker:
        places = [self.session.places[place] for place in self.session.layout.rollout[replica]]
        environment = {"OMP_NUM_THREADS": str(self.cfg.rollout.threads)}
        share = self.cfg.topology.rollout_gpu_share
        if self.cfg.rollout.backend == "vllm":
            from workers.vllm_environment import environment_for

            environment |= environment_for(self.session.device, bundles(places), share)
        # An engine of several GPUs has a Ray worker on each; this process only leads them.
        alone = len(places) == 1
        options = {
            "num_cpus": 1 if alone else 0,
            "num_gpus": share if self.session.gpus and alone else 0,
            "scheduling_strategy": places[0],
            "runtime_env": {"env_vars": environment},
        }
        seat = Seat("rollout", replica, self.replicas, "", self.session.device, self.session.folder)
        handle = ray.remote(RolloutWorker).options(**options).remote(self.cfg, seat)
        return Worker("rollout", replica, handle, places[0], self.session.folder)

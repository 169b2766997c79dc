"""The rollout workers as the driver sees them: one generator over several processes."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from conf.schema import Config
from grpo.types import Completion
from workers.processes import RolloutWorker
from workers.sampler import Request, Sampling
from workers.session import Clock
from workers.weight_sync import Weights

MAX_RESTARTS = 5


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

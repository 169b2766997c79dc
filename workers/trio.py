"""The trio of a run: the actor that trains, the frozen reference, and the rollout pool that generates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from conf.launch import checking_settings
from conf.sft import TrainingConfig
from run.cost import Meter, price_of
from workers.actor import Actor, Reference
from workers.interrupt import Interrupt
from workers.models import pick_device
from workers.placement import check_one_machine, check_ranks, free_address
from workers.rank_group import PhaseTimer, RankGroup, RankInfo, Worker
from workers.rollout import RolloutPool
from workers.session import Session, check_transfer, ray_session
from workers.weights import Transfer, Weights

REFERENCE = "reference.safetensors"  # in a checkpoint, if the reference follows the actor


@dataclass(frozen=True)
class Trio:
    """The workers of a run, as the training loop calls them.

    reference  None if the loss needs no reference, or if the actor without its adapter is the reference
    """

    actor: RankGroup
    rollout: RolloutPool
    reference: RankGroup | None
    ref_sync_steps: int
    timer: PhaseTimer
    device: str

    def sync_reference(self, weights: Weights) -> None:
        """Every `ref_sync_steps` versions the reference takes the actor's weights."""
        if self.reference is not None and self.ref_sync_steps and weights.version % self.ref_sync_steps == 0:
            self.reference.call("load_weights", weights, phase="weight_sync")

    def save(self, folder: Path) -> None:
        folder = folder.absolute()  # workers on other nodes have another working directory
        self.actor.call("save", folder, phase="checkpoint")
        if self.reference is not None and self.ref_sync_steps:
            self.reference.call("save", folder / REFERENCE, phase="checkpoint")

    def load(self, folder: Path) -> None:
        folder = folder.absolute()
        self.actor.call("load", folder, phase="checkpoint")
        if self.reference is not None and self.ref_sync_steps:
            self.reference.call("load", folder / REFERENCE, phase="checkpoint")


@contextmanager
def start_trio(cfg: TrainingConfig, interrupt: Interrupt, meter: Meter) -> Iterator[Trio]:
    """Start Ray and the workers of a run; end them all on exit, for any reason. The meter gets the price of the run's
    GPUs before the workers start, since a start that fails costs something too.

    Raises:
        SystemExit: the topology does not fit the GPUs, or the run has a budget and costs nothing.
        WorkerDied: a worker died during the start.
    """
    device = pick_device(cfg.topology.device)
    with ray_session(cfg, Path("outputs", cfg.run), device, interrupt) as session:
        with checking_settings():
            meter.price = price_of(cfg.cost, cfg.budget.usd, session.gpus)
        yield _start_workers(cfg, session)


def _start_workers(cfg: TrainingConfig, session: Session) -> Trio:
    topology, algorithm = cfg.topology, cfg.algorithm
    transfer = Transfer.of(topology, session.device)
    with checking_settings():  # here, since only the cluster tells its GPUs
        check_ranks(topology, algorithm, cfg.rows_per_update, session.placement)
        check_transfer(transfer, cfg.rollout, session.placement)
        if transfer is Transfer.SHARED_MEMORY or algorithm.kl.ref_sync_steps:
            check_one_machine(session.bundles)
    rollout = RolloutPool(cfg, session)
    if session.device == "cuda" and topology.colocate:
        rollout.ready()  # vLLM measures the free memory of its GPU, so the others start afterwards
    settings = (cfg.model, algorithm, topology)
    actor = _ranks(session, cfg, "actor", Actor, topology.actor_gpu_share, *settings, cfg.num_steps)
    reference = None
    if algorithm.uses_reference and not cfg.model.lora.rank:
        reference = _ranks(session, cfg, "reference", Reference, topology.reference_gpu_share, *settings)
    for group in (actor, reference):
        if group is not None:
            group.call("ready", phase="start", interruptible=True)
    rollout.ready()
    if transfer is not Transfer.SHARED_MEMORY:
        _connect(actor, rollout, cfg, session)
    return Trio(actor, rollout, reference, algorithm.kl.ref_sync_steps, session.timer, session.device)


def _ranks(session: Session, cfg: TrainingConfig, role: str, kind: type, gpu_share: float, *settings: Any) -> RankGroup:
    """Start the ranks of a role that holds a model, each on its bundle."""
    bundles = [session.bundles[bundle] for bundle in session.placement.actor]
    address = free_address(bundles[0], local=cfg.topology.ray_address is None)
    workers = []
    for rank, bundle in enumerate(bundles):
        info = RankInfo(role, rank, len(bundles), address, session.device, session.folder)
        options = {"num_cpus": 1, "num_gpus": gpu_share if session.has_gpus else 0, "scheduling_strategy": bundle}
        workers.append(Worker(info, ray.remote(kind).options(**options).remote(*settings, info), bundle))
    return session.group(workers)


def _connect(actor: RankGroup, rollout: RolloutPool, cfg: TrainingConfig, session: Session) -> None:
    """Connect the actor's ranks with the rollout replicas, for weights that are sent from GPU to GPU."""
    address = free_address(actor.workers[0].scheduling, local=cfg.topology.ray_address is None)
    handles = [worker.handle for worker in rollout.workers]
    processes = sum(len(bundles) for bundles in session.placement.rollout)
    actor.call("connect", address, handles, processes, phase="start", interruptible=True)
    rollout.sender = actor

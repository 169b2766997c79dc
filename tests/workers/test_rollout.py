from types import SimpleNamespace
from typing import Any

import pytest

from workers.rank_group import RankInfo, Worker, WorkerDied
from workers.rollout import RolloutPool
from workers.weights import Transfer, Weights


class Recorder:
    """Stands for a RankGroup: writes down the calls and answers each with the same checksum."""

    def __init__(self, name, calls, answer=None):
        self.name, self.calls, self.answer = name, calls, answer

    def call(self, method, *args, phase, on_death=None):
        self.calls.append((self.name, method, *args))
        return self.answer


def pool_of(transfer: Transfer, sends: str = "ab"):
    """A pool of two replicas with version 3, and the list of its calls to workers. sends: the actor's checksum."""
    calls: list[tuple] = []
    workers = [Worker(RankInfo("rollout", replica, 2), f"handle {replica}", None) for replica in range(2)]
    pool: Any = object.__new__(RolloutPool)
    pool.workers, pool.restarts, pool.weights = workers, 0, Weights(3, "ab", transfer, "path")
    pool.group, pool.sender = Recorder("replicas", calls), Recorder("actor", calls, sends)
    pool.session = SimpleNamespace(lost_a_node=lambda: False, group=lambda _: Recorder("new replica", calls))
    pool._start = lambda replica: Worker(RankInfo("rollout", replica, 2), "new handle", None)
    return pool, calls


def test_replicas_verify_what_the_actor_has_sent():
    pool, calls = pool_of(Transfer.IPC, sends="cd")
    loaded = pool.load_weights(Weights(4, transfer=Transfer.IPC))
    assert loaded == Weights(4, "cd", Transfer.IPC)
    assert calls == [
        ("replicas", "wake"),
        ("actor", "send_weights", ["handle 0", "handle 1"]),
        ("replicas", "load_weights", loaded),
    ]


def test_a_restarted_replica_reads_shared_memory():
    pool, calls = pool_of(Transfer.SHARED_MEMORY)
    pool._restart(1)
    assert calls == [("new replica", "load_weights", pool.weights)]


def test_a_restarted_replica_receives_the_weights_by_ipc():
    pool, calls = pool_of(Transfer.IPC)
    pool._restart(1)
    assert calls == [
        ("new replica", "ready"),
        ("actor", "send_weights", ["new handle"]),
        ("new replica", "load_weights", pool.weights),
    ]


def test_a_run_resumes_if_the_actor_no_longer_has_the_version():
    pool, calls = pool_of(Transfer.IPC, sends="cd")
    with pytest.raises(WorkerDied, match="rollout rank 1 died, and the actor has been trained since"):
        pool._restart(1)
    assert "load_weights" not in [method for _, method, *_ in calls]


def test_a_run_resumes_if_a_replica_dies_that_receives_weights_by_nccl():
    pool, calls = pool_of(Transfer.NCCL)
    with pytest.raises(WorkerDied, match="rollout rank 1 died"):
        pool._restart(1)
    assert not calls

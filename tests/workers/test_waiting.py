"""Waits on real Ray processes that hang, stop, or die."""

import os
import signal
import time

import psutil
import pytest
import ray

from workers.interrupt import Interrupt, Interrupted
from workers.session import shielded_from_sigterm
from workers.waiting import Clock, Worker, WorkerDied, WorkerTimeout, announce


class Sleeper:
    def __init__(self, folder, rank):
        self.stack = announce(folder, "actor", rank)

    def process(self):
        return os.getpid()

    def lost_in_thought(self, seconds=600.0):
        time.sleep(seconds)
        return seconds

    def broken(self):
        raise RuntimeError("connection closed by peer")


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with shielded_from_sigterm():
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def sleeper(folder, rank=0) -> Worker:
    handle = ray.remote(Sleeper).options(num_cpus=1).remote(folder, rank)
    ray.get(handle.process.remote())
    return Worker("actor", rank, handle, "DEFAULT", folder)


def process_of(worker: Worker) -> int:
    return int((worker.folder / f"actor-{worker.rank}.pid").read_text())


def assert_gone(process: int) -> None:
    limit = time.monotonic() + 20
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_answers_come_in_the_order_asked_and_their_time_is_counted(cluster, tmp_path):
    workers = [sleeper(tmp_path, rank) for rank in range(2)]
    clock = Clock(Interrupt(), timeout_s=60)
    asked = [workers[0].ask("lost_in_thought", 0.5), workers[1].ask("lost_in_thought", 0.1)]
    assert clock.wait("update", asked) == [0.5, 0.1]
    assert 0.4 < clock.read()["update"] < 30 and clock.read() == {}
    for worker in workers:
        ray.kill(worker.handle)


def test_a_process_that_hangs_is_named_with_its_stack_and_ended(cluster, tmp_path):
    worker = sleeper(tmp_path, rank=1)
    process = process_of(worker)
    with pytest.raises(WorkerTimeout) as error:
        Clock(Interrupt(), timeout_s=1.0).wait("update", [worker.ask("lost_in_thought")])
    said = str(error.value)
    assert said.startswith("phase update: no answer from actor rank 1 in ")
    assert "lost_in_thought" in said and "test_waiting.py" in said
    assert_gone(process)


def test_a_process_that_is_stopped_is_ended_too(cluster, tmp_path):
    worker = sleeper(tmp_path)
    process = process_of(worker)
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(WorkerTimeout, match="it is stopped and wrote no stack"):
        Clock(Interrupt(), timeout_s=1.0).wait("logprobs", [worker.ask("process")])
    assert_gone(process)


def test_a_death_is_told_from_the_errors_that_it_causes(cluster, tmp_path):
    first, second = sleeper(tmp_path, 0), sleeper(tmp_path, 1)
    hanging = second.ask("lost_in_thought")
    os.kill(process_of(second), signal.SIGKILL)
    with pytest.raises(WorkerDied, match="actor rank 1 died"):
        Clock(Interrupt(), timeout_s=60).wait("update", [first.ask("broken"), hanging])
    with pytest.raises(RuntimeError, match="connection closed by peer"):
        Clock(Interrupt(), timeout_s=60).wait("update", [first.ask("broken")])
    ray.kill(first.handle)


def test_the_user_can_end_a_wait(cluster, tmp_path):
    worker, interrupt = sleeper(tmp_path), Interrupt()
    interrupt.requested = True
    with pytest.raises(Interrupted):
        Clock(interrupt, timeout_s=60).wait("start", [worker.ask("lost_in_thought")], interruptible=True)
    ray.kill(worker.handle)

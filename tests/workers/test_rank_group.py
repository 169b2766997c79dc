"""Calls to real Ray processes that hang, stop, or die."""

import os
import signal
import threading
import time

import psutil
import pytest
import ray
import torch
from ray.exceptions import OutOfMemoryError

from run.files import DamagedFile
from workers.interrupt import Interrupt, Interrupted
from workers.rank_group import (
    PhaseTimer,
    RankGroup,
    RankInfo,
    Worker,
    WorkerDied,
    WorkerFailed,
    WorkerTimeout,
    answer_of,
)
from workers.session import shielded_from_sigterm
from workers.stacks import announce


class Sleeper:
    def __init__(self, info):
        self.stack = announce(info)
        self.rank = info.rank

    def process(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds[self.rank])
        return self.rank

    def fail_or_sleep(self):
        if self.rank == 0:
            raise RuntimeError("connection closed by peer")
        time.sleep(600)

    def run_out_of_memory(self):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore details")

    def read_damaged(self):
        raise DamagedFile("weights version 1 is damaged; start the run again")


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with shielded_from_sigterm():
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def group_of(folder, size=1, timeout_s=60.0, interrupt=None) -> RankGroup:
    workers = []
    for rank in range(size):
        info = RankInfo("actor", rank, size, folder=folder)
        handle = ray.remote(Sleeper).options(num_cpus=1).remote(info)
        ray.get(handle.process.remote())
        workers.append(Worker(info, handle, "DEFAULT"))
    return RankGroup(workers, PhaseTimer(), interrupt or Interrupt(), timeout_s)


def end(group: RankGroup) -> None:
    for worker in group.workers:
        ray.kill(worker.handle)


def process_of(worker: Worker) -> int:
    assert worker.info.folder is not None
    return int((worker.info.folder / f"actor-{worker.info.rank}.pid").read_text())


def assert_gone(process: int) -> None:
    limit = time.monotonic() + 20
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_the_first_rank_answers_for_all_when_all_are_done_and_the_time_is_measured(cluster, tmp_path):
    group = group_of(tmp_path, size=2)
    assert group.call("sleep", [0.0, 0.5], phase="update") == 0
    assert 0.4 < group.timer.read()["update"] < 30 and group.timer.read() == {}
    end(group)


def test_a_hanging_worker_is_reported_with_its_stack_and_killed(cluster, tmp_path):
    group = group_of(tmp_path, size=2, timeout_s=1.0)
    processes = [process_of(worker) for worker in group.workers]
    with pytest.raises(WorkerTimeout) as error:
        group.call("sleep", [0.0, 600.0], phase="update")
    message = str(error.value)
    assert message.startswith("phase update: no answer from actor rank 1 in ")
    assert "in sleep" in message and "test_rank_group.py" in message
    assert_gone(processes[1])
    assert psutil.pid_exists(processes[0])
    end(group)


def test_a_stopped_worker_is_killed_too(cluster, tmp_path):
    group = group_of(tmp_path, timeout_s=1.0)
    process = process_of(group.workers[0])
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(WorkerTimeout, match="it is stopped and wrote no stack"):
        group.call("process", phase="logprobs")
    assert_gone(process)


def test_a_dead_rank_is_reported_instead_of_the_errors_that_its_death_causes(cluster, tmp_path):
    group = group_of(tmp_path, size=2)
    threading.Timer(1.0, os.kill, (process_of(group.workers[1]), signal.SIGKILL)).start()
    with pytest.raises(WorkerDied, match="actor rank 1 died"):
        group.call("fail_or_sleep", phase="update")
    survivor = RankGroup(group.workers[:1], group.timer, group.interrupt, 60.0)
    with pytest.raises(RuntimeError, match="connection closed by peer"):
        survivor.call("fail_or_sleep", phase="update")
    end(survivor)


def test_damaged_weights_are_reported_in_one_line(cluster, tmp_path):
    group = group_of(tmp_path)
    with pytest.raises(DamagedFile) as error:
        group.call("read_damaged", phase="weight_sync")
    assert str(error.value) == "weights version 1 is damaged; start the run again"
    end(group)


def test_a_gpu_out_of_memory_names_the_worker_and_the_setting(cluster, tmp_path):
    group = group_of(tmp_path)
    with pytest.raises(WorkerFailed) as error:
        group.call("run_out_of_memory", phase="update")
    found = "actor rank 0 ran out of GPU memory (CUDA out of memory. Tried to allocate 2 GiB.); lower"
    assert str(error.value).startswith(found)
    end(group)


def test_a_caller_can_handle_the_death_of_a_worker(cluster, tmp_path):
    group, dead = group_of(tmp_path, size=2), []
    os.kill(process_of(group.workers[0]), signal.SIGKILL)
    assert group.call("sleep", [0.0, 0.0], phase="weight_sync", on_death=dead.append) is None
    assert dead == [group.workers[0]]
    ray.kill(group.workers[1].handle)


def test_the_user_can_interrupt_a_wait(cluster, tmp_path):
    interrupt = Interrupt()
    group = group_of(tmp_path, interrupt=interrupt)
    interrupt.requested = True
    with pytest.raises(Interrupted):
        group.call("sleep", [600.0], phase="start", interruptible=True)
    end(group)


class Misconfigured:
    def __init__(self):
        raise ValueError("model.frozen=typo matches no parameter name")

    def ready(self):
        return None


def test_a_worker_that_cannot_start_is_no_death_and_its_error_is_told(cluster):
    handle = ray.remote(Misconfigured).remote()
    worker = Worker(RankInfo(), handle, "DEFAULT")
    group = RankGroup([worker], PhaseTimer(), Interrupt(), 60.0)
    with pytest.raises(WorkerFailed, match="actor rank 0 could not start: ValueError: model.frozen=typo matches no"):
        group.call("ready", phase="start")


def test_a_worker_that_ray_kills_because_memory_ran_out_has_died(monkeypatch):
    def out_of_memory(ref):
        raise OutOfMemoryError("Task was killed due to the node running low on memory.")

    monkeypatch.setattr("workers.rank_group.ray.get", out_of_memory)
    with pytest.raises(WorkerDied, match="rollout rank 1 died: Task was killed due to the node running low"):
        answer_of(object(), Worker(RankInfo("rollout", 1), None, None), {})


class OutOfMemory:
    def stream(self):
        yield 0
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore details")


def test_a_stream_that_ran_out_of_gpu_memory_says_which_setting_to_lower(cluster):
    worker = Worker(RankInfo("rollout"), ray.remote(OutOfMemory).remote(), "DEFAULT")
    stream = worker.handle.stream.options(num_returns="streaming").remote()
    assert answer_of(next(stream), worker, {}) == 0
    with pytest.raises(WorkerFailed, match=r"^rollout rank 0 ran out of GPU memory .*; lower rollout.max_num_seqs"):
        answer_of(next(stream), worker, {})


class Busy:
    def stream(self):
        yield from range(10_000)


def test_a_stream_that_always_has_an_item_can_be_interrupted(cluster):
    handle = ray.remote(Busy).remote()
    stream, interrupt = handle.stream.options(num_returns="streaming").remote(), Interrupt()
    group = RankGroup([Worker(RankInfo(), handle, "DEFAULT")], PhaseTimer(), interrupt, 60.0)
    assert group.next_stream({stream: group.workers[0]}, "generate") is stream
    interrupt.requested = True
    with pytest.raises(Interrupted):
        group.next_stream({stream: group.workers[0]}, "generate")
    ray.kill(handle)

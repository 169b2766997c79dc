import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

from conf.workers import RolloutConfig
from workers import session
from workers.placement import Placement
from workers.session import check_transfer, free_shared_memory
from workers.shared_memory import shared_folder
from workers.weights import Transfer


def test_runs_do_not_share_a_folder(tmp_path):
    assert shared_folder(Path("one")) != shared_folder(Path("other"))
    assert shared_folder(Path("one")) != shared_folder(tmp_path / "one")


def test_the_shared_memory_of_a_killed_run_is_freed_unless_it_is_in_use(tmp_path):
    folder = shared_folder(tmp_path)
    free_shared_memory(tmp_path)  # there is none
    (folder / "weights_000001").mkdir(parents=True)
    hold = (
        "import sys; from pathlib import Path; from run.lock import lock; f = lock(Path(sys.argv[1]), str()); print(1)"
    )
    command = [sys.executable, "-uc", hold + "; input()", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        owner.stdout.readline()
        free_shared_memory(tmp_path)
        assert folder.is_dir()
        owner.kill()
    free_shared_memory(tmp_path)
    assert not folder.exists()


COLOCATED = Placement((0, 1), ((0,), (1,)))
SPLIT = Placement((0,), ((1,),))


@pytest.mark.parametrize(
    ("transfer", "placement", "backend"),
    [
        ("ipc", COLOCATED, "vllm"),
        ("ipc", Placement((0, 1), ((0, 1),)), "vllm"),
        ("nccl", SPLIT, "vllm"),
        ("shm", SPLIT, "transformers"),
        ("shm", COLOCATED, "vllm"),
    ],
)
def test_these_transfers_reach_the_samplers(transfer, placement, backend):
    check_transfer(Transfer(transfer), RolloutConfig(backend=backend), placement)


@pytest.mark.parametrize(
    ("transfer", "placement", "backend", "message"),
    [
        ("ipc", SPLIT, "vllm", "ipc requires that a rank of the actor is on every GPU"),
        ("ipc", Placement((0,), ((0,), (1,))), "vllm", "ipc requires that a rank of the actor is on every GPU"),
        ("nccl", COLOCATED, "vllm", "nccl requires that no GPU both trains and generates"),
        ("ipc", COLOCATED, "transformers", "ipc requires rollout.backend=vllm, got transformers; choose shm"),
    ],
)
def test_other_transfers_are_rejected_before_the_start(transfer, placement, backend, message):
    with pytest.raises(ValueError, match=message):
        check_transfer(Transfer(transfer), RolloutConfig(backend=backend), placement)


def test_a_process_that_ends_by_itself_while_ray_is_stopped_is_no_error(monkeypatch):
    gone = subprocess.Popen(["sleep", "60"])
    late = psutil.Process(gone.pid)
    gone.kill()
    gone.wait()
    node = SimpleNamespace(kill_all_processes=None, live_processes=lambda: [("raylet", SimpleNamespace(pid=gone.pid))])
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(psutil, "wait_procs", lambda children, timeout: ([], [late]))
    session._stop_ray()
    assert not late.is_running()

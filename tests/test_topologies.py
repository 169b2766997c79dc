"""Whole runs on several processes, GPUs that are only declared, and several nodes on this machine."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import torch
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from tests.test_train_grpo import descendants, finish, metrics, start, wait_for_step
from workers.checkpoint import list_checkpoints
from workers.session import shielded_from_sigterm

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
STEPS = 6
QUIET = ["tracker=none", "checkpoint.every=2", "topology.threads=1"]
TWO = ["topology.actor_ranks=2", "rollout.replicas=2"]


def run(folder: Path, name: str, *overrides: str, steps: int = STEPS) -> str:
    return finish(start(folder, name, f"num_steps={steps}", *QUIET, *overrides))


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(folder / "outputs" / name / "checkpoints")[-1] / "hf" / "model.safetensors")


def losses(folder: Path, name: str) -> list[float]:
    return [row["policy/loss"] for row in metrics(folder, name) if "policy/loss" in row]


def assert_same(folder: Path, other: str, name: str = "one") -> None:
    assert losses(folder, other) == pytest.approx(losses(folder, name), abs=1e-5)
    for key, tensor in weights(folder, name).items():
        assert torch.allclose(tensor, weights(folder, other)[key], atol=1e-5), key


def worker(process: subprocess.Popen, role: str, rank: int, folder: Path) -> psutil.Process:
    """The process that announced itself as this rank of a role."""
    found = [Path("/dev/shm").glob(f"ahazero-*/{role}-{rank}.pid")]
    ours = {one.pid for one in descendants(process)}
    pids = [int(path.read_text()) for paths in found for path in paths]
    [pid] = [pid for pid in pids if pid in ours]
    return psutil.Process(pid)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One process for each role, the run that all others are compared with."""
    folder = tmp_path_factory.mktemp("topologies")
    run(folder, "one")
    return folder


def test_two_ranks_and_two_replicas_equal_one_of_each(one):
    run(one, "two", *TWO)
    assert_same(one, "two")


def test_a_run_of_two_ranks_is_gone_on_with_by_one(one):
    run(one, "resharded", *TWO, steps=4)
    run(one, "resharded")
    assert_same(one, "resharded")


def test_training_and_rollouts_on_gpus_of_their_own(one):
    run(one, "split", "topology=split", "topology.device=cpu", "topology.num_gpus=4")
    assert_same(one, "split")


def test_an_engine_of_two_tensor_parallel_processes(one):
    run(one, "parallel", "rollout.tensor_parallel_size=2")
    # Sums in another order may turn a draw, so what is compared is the first step.
    assert losses(one, "parallel")[0] == pytest.approx(losses(one, "one")[0], abs=1e-3)
    assert all(row["mismatch/max_gap"] < 1e-3 for row in metrics(one, "parallel") if "mismatch/max_gap" in row)


def test_a_step_ahead_uses_weights_one_version_old(one):
    run(one, "ahead", "topology=async", "topology.device=cpu", "topology.num_gpus=2")
    rows = [row for row in metrics(one, "ahead") if "policy/loss" in row]
    assert rows[0]["policy/loss"] == pytest.approx(losses(one, "one")[0], abs=1e-5)
    assert [row["weights/behind"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert {row["weights/behind"] for row in metrics(one, "one") if "policy/loss" in row} == {0}


def test_a_killed_actor_rank_makes_the_run_go_on_from_its_last_checkpoint(one):
    process = start(one, "killed", f"num_steps={STEPS}", *QUIET, *TWO)
    wait_for_step(one, "killed", 3)
    worker(process, "actor", 1, one).kill()
    assert "actor rank 1 died" in finish(process)
    assert_same(one, "killed")


def test_a_process_that_answers_no_more_ends_the_run_and_leaves_nothing_behind(one):
    process = start(one, "stuck", f"num_steps={STEPS}", *QUIET, *TWO, "topology.timeout_s=100")
    wait_for_step(one, "stuck", 2)
    family = descendants(process)
    os.kill(worker(process, "actor", 1, one).pid, signal.SIGSTOP)
    output, _ = process.communicate(timeout=400)
    assert process.returncode not in (0, None)
    assert re.search(r"error: phase \w+: no answer from actor rank", output) and "actor rank 1\nit is stopped" in output
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_a_lost_node_makes_the_run_go_on_with_the_others(one):
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with shielded_from_sigterm():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "num_gpus": 1})
        second = cluster.add_node(num_cpus=4, num_gpus=1)
    try:
        where = [f"topology.ray_address={cluster.address}", "topology=multi_node", "topology.device=cpu"]
        process = start(one, "nodes", f"num_steps={STEPS}", *QUIET, *where)
        wait_for_step(one, "nodes", 3)
        cluster.remove_node(second, allow_graceful=False)
        output = finish(process)
    finally:
        cluster.shutdown()
    assert "going on from the last checkpoint" in output
    assert_same(one, "nodes")

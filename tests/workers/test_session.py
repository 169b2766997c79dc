from pathlib import Path

import pytest

from conf.workers import RolloutConfig
from workers.placement import Placement
from workers.session import check_transfer, shared_folder
from workers.weights import Transfer


def test_runs_do_not_share_a_folder(tmp_path):
    assert shared_folder(Path("one")) != shared_folder(Path("other"))
    assert shared_folder(Path("one")) != shared_folder(tmp_path / "one")


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

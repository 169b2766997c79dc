import pytest

from conf.compose import compose_config
from conf.workers import RolloutConfig, TopologyConfig
from workers.placement import Placement, make_placement, node_by_node
from workers.session import check_topology


def placed(gpus: int | None, replicas: int | None = None, width: int = 1, **topology) -> Placement:
    rollout = RolloutConfig(replicas=replicas, tensor_parallel_size=width)
    return make_placement(TopologyConfig(**topology), rollout, gpus)


def test_a_cpu_has_one_worker_per_role_or_as_many_as_requested():
    assert placed(None) == Placement((0,), ((0,),))
    assert placed(None, replicas=2, actor_ranks=2) == Placement((0, 1), ((0,), (1,)))
    assert placed(None, replicas=2, actor_ranks=2, colocate=False) == Placement((0, 1), ((2,), (3,)))
    assert placed(None, width=2).num_bundles == 2


def test_colocated_roles_use_every_gpu():
    assert placed(1) == Placement((0,), ((0,),))
    assert placed(4) == Placement((0, 1, 2, 3), ((0,), (1,), (2,), (3,)))
    assert placed(4, width=2) == Placement((0, 1, 2, 3), ((0, 1), (2, 3)))
    assert placed(8, num_gpus=2) == Placement((0, 1), ((0,), (1,)))


def test_separate_roles_divide_the_gpus():
    assert placed(4, colocate=False) == Placement((0, 1), ((2,), (3,)))
    assert placed(8, replicas=1, width=2, colocate=False) == Placement(tuple(range(6)), ((6, 7),))
    assert placed(2, colocate=False, max_off_policy_steps=1) == Placement((0,), ((1,),))


@pytest.mark.parametrize(
    ("gpus", "settings", "message"),
    [
        (1, {"colocate": False}, "0 rollout replicas of 1 GPU"),
        (2, {"num_gpus": 4}, "topology.num_gpus=4 exceeds the number of GPUs, 2"),
        (4, {"actor_ranks": 5}, "5 actor ranks and 4 rollout replicas of 1 GPU(s) do not fit on 4 GPU(s)"),
        (4, {"colocate": False, "replicas": 4}, "0 actor ranks and 4 rollout replicas"),
        (2, {"width": 4}, "0 rollout replicas of 4 GPU(s) do not fit on 2 GPU(s)"),
    ],
)
def test_roles_that_do_not_fit_are_rejected_with_a_remedy(gpus, settings, message):
    with pytest.raises(ValueError) as error:
        placed(gpus, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["topology.actor_ranks=3"], "64 completions per update cannot be shared by 3 actor ranks"),
        (["algorithm.num_minibatches=128", "topology.actor_ranks=4"], "2 completions per update cannot be shared by 4"),
        (
            ["algorithm.optimizer.name=adamw_8bit", "topology.actor_ranks=2"],
            "does not support several actor ranks",
        ),
        (["topology=split", "topology.device=cpu", "topology.num_gpus=1"], "do not fit on 1 GPU(s)"),
    ],
)
def test_an_impossible_topology_is_rejected_before_anything_starts(overrides, message):
    with pytest.raises(ValueError) as error:
        check_topology(compose_config(overrides))
    assert message in str(error.value)


def test_off_policy_steps_require_separate_gpus():
    with pytest.raises(ValueError, match="topology.max_off_policy_steps=1 requires topology.colocate=false"):
        TopologyConfig(max_off_policy_steps=1)


def test_bundles_of_a_node_are_adjacent():
    """The tensor-parallel ranks of an engine use consecutive bundles, so they share a node."""
    assert node_by_node({0: "b", 1: "a", 2: "b", 3: "a"}) == [0, 2, 1, 3]
    assert node_by_node({0: "a", 1: "a"}) == [0, 1]

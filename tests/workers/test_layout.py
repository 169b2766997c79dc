import pytest

from conf.compose import compose_config
from conf.schema import RolloutConfig, TopologyConfig
from workers.layout import Layout, make_layout
from workers.placement import node_by_node
from workers.session import check_topology


def layout(gpus: int | None, replicas: int | None = None, width: int = 1, **topology) -> Layout:
    rollout = RolloutConfig(replicas=replicas, tensor_parallel_size=width)
    return make_layout(TopologyConfig(**topology), rollout, gpus)


def test_a_cpu_has_one_of_each_role_or_as_many_as_asked_for():
    assert layout(None) == Layout((0,), ((0,),))
    assert layout(None, replicas=2, actor_ranks=2) == Layout((0, 1), ((0,), (1,)))
    assert layout(None, replicas=2, actor_ranks=2, colocate=False) == Layout((0, 1), ((2,), (3,)))
    assert layout(None, width=2).places == 2


def test_roles_that_share_are_on_every_gpu():
    assert layout(1) == Layout((0,), ((0,),))
    assert layout(4) == Layout((0, 1, 2, 3), ((0,), (1,), (2,), (3,)))
    assert layout(4, width=2) == Layout((0, 1, 2, 3), ((0, 1), (2, 3)))
    assert layout(8, num_gpus=2) == Layout((0, 1), ((0,), (1,)))


def test_roles_that_do_not_share_divide_the_gpus():
    assert layout(4, colocate=False) == Layout((0, 1), ((2,), (3,)))
    assert layout(8, replicas=1, width=2, colocate=False) == Layout(tuple(range(6)), ((6, 7),))
    assert layout(2, colocate=False, max_off_policy_steps=1) == Layout((0,), ((1,),))


@pytest.mark.parametrize(
    ("gpus", "settings", "message"),
    [
        (1, {"colocate": False}, "0 rollout replicas of 1 GPU"),
        (2, {"num_gpus": 4}, "topology.num_gpus=4, but there are 2"),
        (4, {"actor_ranks": 5}, "5 actor ranks and 4 rollout replicas of 1 GPU(s) do not fit on 4 GPU(s)"),
        (4, {"colocate": False, "replicas": 4}, "0 actor ranks and 4 rollout replicas"),
        (2, {"width": 4}, "0 rollout replicas of 4 GPU(s) do not fit on 2 GPU(s)"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_choose(gpus, settings, message):
    with pytest.raises(ValueError) as error:
        layout(gpus, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["topology.actor_ranks=3"], "256 completions an update can't be shared by 3 actor ranks"),
        (["algorithm.num_minibatches=128", "topology.actor_ranks=4"], "2 completions an update can't be shared by 4"),
        (["algorithm.optimizer.name=adamw_8bit", "topology.actor_ranks=2"], "adamw_8bit can't hold a model in parts"),
        (["topology=split", "topology.device=cpu", "topology.num_gpus=1"], "do not fit on 1 GPU(s)"),
    ],
)
def test_a_topology_that_can_t_work_is_refused_before_anything_starts(overrides, message):
    with pytest.raises(ValueError) as error:
        check_topology(compose_config(overrides))
    assert message in str(error.value)


def test_running_ahead_needs_gpus_of_its_own():
    with pytest.raises(ValueError, match="topology.max_off_policy_steps=1 requires topology.colocate=false"):
        TopologyConfig(max_off_policy_steps=1)


def test_places_of_a_node_are_next_to_each_other():
    """So that an engine's tensor-parallel ranks, which take places in a row, are on one node."""
    assert node_by_node({0: "b", 1: "a", 2: "b", 3: "a"}) == [0, 2, 1, 3]
    assert node_by_node({0: "a", 1: "a"}) == [0, 1]

from tools.planner.__main__ import problems_of
from tools.planner.choice import Plan
from tools.planner.fit import GpuSplit
from tools.planner.trace import Peak, UpdateMemory


def plan(topology: str, trainers: int, training: float, generating: float, problem: str | None = None) -> Plan:
    nothing = UpdateMemory(0, 0, 0, Peak(), Peak(), 0)
    split = GpuSplit(topology, trainers, 4 - trainers, False, True, "adamw")
    return Plan(split, {"rollout": generating}, {"actor": training}, nothing, problem)


def test_a_topology_of_which_some_plan_fits_is_not_listed_as_one_that_does_not():
    one, three = plan("split", 1, 61, 20, "training needs 61"), plan("split", 3, 25, 20)
    assert problems_of([one, three]) == problems_of([three, one]) == {}


def test_a_topology_that_does_not_fit_is_listed_with_its_smallest_shortage():
    plans = [
        plan("split", 1, 61, 20, "training needs 61"),
        plan("split", 2, 20, 48, "generating needs 48"),
        plan("split", 3, 50, 20, "training needs 50"),
        plan("async", 3, 60, 20, "training needs 60"),
    ]
    assert problems_of(plans) == {
        "split with gradient checkpointing": "generating needs 48",
        "async with gradient checkpointing": "training needs 60",
    }

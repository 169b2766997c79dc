import pytest

from grpo.selection import has_advantages, replace_uniform_groups, select_by_pass_rate
from grpo.settings import AdvantageConfig
from grpo.types import Group, Rollout, Score
from tests.builders import PROBLEM, completion, group_of

WEIGHTS = {"correct": 3.0, "format": 1.0}


def with_components(*rows: tuple[float, float]) -> Group:
    """Rollouts with these values of the components `correct` and `format`, whose weighted sum is the reward."""
    scores = [Score(3 * c + f, c == 1.0, {"correct": c, "format": f}, "") for c, f in rows]
    return Group(PROBLEM, tuple(Rollout(completion(), score) for score in scores))


@pytest.mark.parametrize(
    ("rows", "useful"),
    [
        ([(1, 0), (0, 0)], {"rewards", "components", "pass_at_k"}),
        ([(0, 1), (0, 0)], {"rewards", "components"}),  # none is correct: pass@k has nothing to compare
        ([(1, 0), (0, 3)], {"components", "pass_at_k"}),  # the total rewards are equal
        ([(0, 1), (0, 1)], set()),
    ],
)
def test_a_group_is_useful_if_what_its_advantages_are_computed_from_differs(rows, useful):
    ways = ("rewards", "components", "pass_at_k")
    group = with_components(*rows)
    assert {of for of in ways if has_advantages(group, AdvantageConfig(of, k=1), WEIGHTS)} == useful


def test_uniform_groups_are_replaced_at_their_index():
    def differs(group):
        return len(set(group.rewards)) > 1

    flat, split = group_of([1.0, 1.0]), group_of([1.0, 0.0])
    also_flat, fresh_flat, first, second = (group_of(r) for r in ([0.0, 0.0], [0.1, 0.1], [0.0, 1.0], [0.1, 1.0]))
    kept, discarded = replace_uniform_groups([flat, split, also_flat], [fresh_flat, first], differs)
    assert kept == [first, split, also_flat] and discarded == [fresh_flat, flat]
    kept, discarded = replace_uniform_groups([split, also_flat], [first, second], differs)
    assert kept == [split, first] and discarded == [also_flat, second]


def test_problems_solved_half_of_the_time_are_selected_first():
    shares = [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0] * 4, [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    trials = [group_of(rewards) for rewards in shares]
    assert select_by_pass_rate(trials, 1) == [trials[3]]
    assert select_by_pass_rate(trials, 2) == [trials[1], trials[3]]
    assert select_by_pass_rate(trials, 4) == [trials[0], trials[1], trials[3], trials[4]]

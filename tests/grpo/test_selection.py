from grpo.selection import has_reward_variance, replace_uniform_groups, select_by_pass_rate
from tests.builders import group_of


def test_a_group_has_reward_variance_when_its_rewards_differ():
    assert has_reward_variance(group_of([0.0, 0.1])) and not has_reward_variance(group_of([0.1, 0.1]))


def test_uniform_groups_are_replaced_at_their_index():
    flat, split = group_of([1.0, 1.0]), group_of([1.0, 0.0])
    also_flat, fresh_flat, first, second = (group_of(r) for r in ([0.0, 0.0], [0.1, 0.1], [0.0, 1.0], [0.1, 1.0]))
    kept, discarded = replace_uniform_groups([flat, split, also_flat], [fresh_flat, first])
    assert kept == [first, split, also_flat] and discarded == [fresh_flat, flat]
    kept, discarded = replace_uniform_groups([split, also_flat], [first, second])
    assert kept == [split, first] and discarded == [also_flat, second]


def test_problems_solved_half_of_the_time_are_selected_first():
    shares = [[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0] * 4, [1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    trials = [group_of(rewards) for rewards in shares]
    assert select_by_pass_rate(trials, 1) == [trials[3]]
    assert select_by_pass_rate(trials, 2) == [trials[1], trials[3]]
    assert select_by_pass_rate(trials, 4) == [trials[0], trials[1], trials[3], trials[4]]

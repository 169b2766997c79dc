import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.advantages import BASELINES, SCALES, group_advantages
from tests.builders import group_of

REWARDS = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, -1.0]), min_size=2, max_size=6)
GROUPS = st.lists(REWARDS, min_size=1, max_size=5)


def advantages(*rewards, baseline="group_mean", scale="group_std", epsilon=0.0):
    return group_advantages([group_of(row) for row in rewards], baseline, scale, epsilon)


def test_advantages_by_hand():
    # rewards 1, 0, 0, 0: mean 1/4, population std sqrt(3)/4, so (3/4) / (sqrt(3)/4) = sqrt(3)
    third = -1 / 3**0.5
    assert torch.allclose(advantages([1.0, 0.0, 0.0, 0.0]), torch.tensor([3**0.5, third, third, third]))


def test_without_a_scale_only_the_mean_is_taken_off():
    found = advantages([1.0, 0.1, 0.1, 0.0], scale="none")
    assert torch.allclose(found, torch.tensor([0.7, -0.2, -0.2, -0.3]))


def test_leave_one_out_by_hand():
    # the means of the others of 1, 0 and 0.5 are 0.25, 0.75 and 0.5
    found = advantages([1.0, 0.0, 0.5], baseline="leave_one_out", scale="none")
    assert torch.allclose(found, torch.tensor([1 - 0.25, 0 - 0.75, 0.5 - 0.5]))


def test_the_batch_mean_and_the_batch_std_by_hand():
    # rewards 1, 0 | 1, 1: mean 3/4; distances 1/4, -3/4, 1/4, 1/4; mean square 3/16
    found = advantages([1.0, 0.0], [1.0, 1.0], baseline="batch_mean", scale="batch_std")
    assert torch.allclose(found, torch.tensor([0.25, -0.75, 0.25, 0.25]) / (3 / 16) ** 0.5)


def test_the_batch_std_over_group_means_by_hand():
    # distances from the group means: 1/2, -1/2 | 0, 0; mean square 1/8
    found = advantages([1.0, 0.0], [1.0, 1.0], scale="batch_std")
    assert torch.allclose(found, torch.tensor([0.5, -0.5, 0.0, 0.0]) / (1 / 8) ** 0.5)


@pytest.mark.parametrize("baseline", ["group_mean", "leave_one_out"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_group_of_equal_rewards_has_zero_advantage(baseline, scale):
    assert torch.equal(advantages([0.1, 0.1, 0.1], baseline=baseline, scale=scale, epsilon=1e-4), torch.zeros(3))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.sampled_from(["group_mean", "leave_one_out"]), st.sampled_from(SCALES))
def test_the_advantages_of_a_group_add_up_to_zero(rewards, baseline, scale):
    found = advantages(*rewards, baseline=baseline, scale=scale, epsilon=1e-4)
    sums = [part.sum() for part in found.split([len(row) for row in rewards])]
    assert torch.stack(sums).abs().max() < 1e-4


@settings(max_examples=50, deadline=None, derandomize=True)
@given(REWARDS, st.permutations(range(6)), st.sampled_from(BASELINES), st.sampled_from(SCALES))
def test_the_order_of_the_completions_does_not_matter(rewards, order, baseline, scale):
    order = [place for place in order if place < len(rewards)]
    plain = advantages(rewards, baseline=baseline, scale=scale, epsilon=1e-4)
    mixed = advantages([rewards[place] for place in order], baseline=baseline, scale=scale, epsilon=1e-4)
    assert torch.allclose(plain[torch.tensor(order)], mixed, atol=1e-6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.floats(0.1, 10), st.sampled_from(BASELINES))
def test_rewards_in_another_unit_give_the_same_scaled_advantages(rewards, unit, baseline):
    for scale, factor in (("none", unit), ("group_std", 1.0), ("batch_std", 1.0)):
        if scale != "none" and any(min(row) == max(row) for row in rewards):
            continue
        plain = advantages(*rewards, baseline=baseline, scale=scale)
        other = advantages(*[[unit * r for r in row] for row in rewards], baseline=baseline, scale=scale)
        assert torch.allclose(factor * plain, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["group_std", "none"])
def test_groups_do_not_see_each_other(scale):
    together = advantages([1.0, 0.0], [0.0, 0.1, 0.3], scale=scale)
    assert torch.equal(together, torch.cat([advantages(row, scale=scale) for row in ([1.0, 0.0], [0.0, 0.1, 0.3])]))


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="group size must be >= 2, got 1"):
        advantages([1.0])

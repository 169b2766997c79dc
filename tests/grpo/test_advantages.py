import pytest
import torch

from grpo.advantages import group_advantages
from tests.builders import group_of


def test_advantages_by_hand():
    # rewards 1, 0, 0, 0: mean 1/4, population std sqrt(3)/4, so (3/4) / (sqrt(3)/4) = sqrt(3)
    advantages = group_advantages([group_of([1.0, 0.0, 0.0, 0.0])], scale_by_std=True, epsilon=0.0)
    third = -1 / 3**0.5
    assert torch.allclose(advantages, torch.tensor([3**0.5, third, third, third]))


def test_without_std_only_the_mean_is_taken_off():
    advantages = group_advantages([group_of([1.0, 0.1, 0.1, 0.0])], scale_by_std=False, epsilon=0.0)
    assert torch.allclose(advantages, torch.tensor([0.7, -0.2, -0.2, -0.3]))


def test_a_group_of_equal_rewards_has_zero_advantage():
    advantages = group_advantages([group_of([0.1, 0.1, 0.1])], scale_by_std=True, epsilon=1e-4)
    assert torch.equal(advantages, torch.zeros(3))


def test_groups_do_not_see_each_other():
    first, second = group_of([1.0, 0.0]), group_of([0.0, 0.1])
    together = group_advantages([first, second], scale_by_std=True, epsilon=1e-4)
    apart = [group_advantages([g], scale_by_std=True, epsilon=1e-4) for g in (first, second)]
    assert torch.equal(together, torch.cat(apart))


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="group size must be >= 2, got 1"):
        group_advantages([group_of([1.0])], scale_by_std=True, epsilon=1e-4)

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.advantages import ADVANTAGES, kl_penalized_advantages, pass_at_k_group, reward_to_go_advantages
from grpo.grpo import group_advantages, make_batch
from grpo.settings import BASELINES, SCALES, AdvantageConfig, KlConfig
from grpo.types import Group, Rollout, Score
from tests.builders import PROBLEM, completion, group_of

REWARDS = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, -1.0]), min_size=2, max_size=6)
GROUPS = st.lists(REWARDS, min_size=1, max_size=5)
ALLOWED = [pair for pair in itertools.product(BASELINES, SCALES) if pair != ("batch_mean", "group_std")]
NEGLIGIBLE = 1e-12  # an epsilon that changes no number worked out by hand


def advantages(*rewards, baseline="group_mean", scale="group_std", epsilon=NEGLIGIBLE):
    cfg = AdvantageConfig("rewards", baseline, scale, epsilon)
    return group_advantages([group_of(row) for row in rewards], cfg, {}).float()


def test_advantages_by_hand():
    # rewards 1, 0, 0, 0: mean 1/4, population std sqrt(3)/4, so (3/4) / (sqrt(3)/4) = sqrt(3)
    third = -1 / 3**0.5
    assert torch.allclose(advantages([1.0, 0.0, 0.0, 0.0]), torch.tensor([3**0.5, third, third, third]))


def test_without_a_scale_only_the_mean_is_subtracted():
    found = advantages([1.0, 0.1, 0.1, 0.0], scale="none")
    assert torch.allclose(found, torch.tensor([0.7, -0.2, -0.2, -0.3]))


def test_leave_one_out_by_hand():
    # without 1, 0 and 0.5 the means of the remaining rewards are 0.25, 0.75 and 0.5
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
@pytest.mark.parametrize("epsilon", [1e-4, NEGLIGIBLE])
def test_a_group_of_equal_rewards_has_zero_advantage(baseline, scale, epsilon):
    assert torch.equal(advantages([0.1, 0.1, 0.1], baseline=baseline, scale=scale, epsilon=epsilon), torch.zeros(3))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.sampled_from(["group_mean", "leave_one_out"]), st.sampled_from(SCALES))
def test_the_advantages_of_a_group_add_up_to_zero(rewards, baseline, scale):
    found = advantages(*rewards, baseline=baseline, scale=scale, epsilon=1e-4)
    sums = [part.sum() for part in found.split([len(row) for row in rewards])]
    assert torch.stack(sums).abs().max() < 1e-4


@settings(max_examples=50, deadline=None, derandomize=True)
@given(REWARDS, st.permutations(range(6)), st.sampled_from(ALLOWED))
def test_the_order_of_the_completions_does_not_matter(rewards, order, allowed):
    baseline, scale = allowed
    order = [index for index in order if index < len(rewards)]
    plain = advantages(rewards, baseline=baseline, scale=scale, epsilon=1e-4)
    mixed = advantages([rewards[index] for index in order], baseline=baseline, scale=scale, epsilon=1e-4)
    assert torch.allclose(plain[torch.tensor(order)], mixed, atol=1e-6)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(GROUPS, st.floats(0.1, 10), st.sampled_from(ALLOWED))
def test_rewards_in_another_unit_give_the_same_scaled_advantages(rewards, unit, allowed):
    baseline, scale = allowed
    if scale != "none" and any(min(row) == max(row) for row in rewards):
        return
    plain = advantages(*rewards, baseline=baseline, scale=scale)
    other = advantages(*[[unit * r for r in row] for row in rewards], baseline=baseline, scale=scale)
    assert torch.allclose(plain * (unit if scale == "none" else 1.0), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["group_std", "none"])
def test_groups_are_independent_of_each_other(scale):
    together = advantages([1.0, 0.0], [0.0, 0.1, 0.3], scale=scale)
    assert torch.equal(together, torch.cat([advantages(row, scale=scale) for row in ([1.0, 0.0], [0.0, 0.1, 0.3])]))


def test_a_group_of_one_is_rejected():
    with pytest.raises(ValueError, match="group size must be >= 2, got 1"):
        advantages([1.0])


def with_components(*rows: tuple[float, float]) -> Group:
    """Rollouts with these values of the components `correct` and `format`, whose sum is the reward."""
    scores = [Score(c + f, c == 1.0, {"correct": c, "format": f}, "") for c, f in rows]
    return Group(PROBLEM, tuple(Rollout(completion([7, 8]), score) for score in scores))


def test_components_are_normalized_separately_by_hand():
    # correct 1, 0, 0, 0 and format 0, 1, 0, 1: the total rewards of the first, second and fourth are equal (1).
    # Normalized separately, correct is sqrt(3), -1/sqrt(3), ... and format is -1, 1, -1, 1. Their sum is divided by
    # its root mean square, sqrt(1 + 1 + 2 * mean of products) = sqrt(2 - 2 / sqrt(3)).
    group = with_components((1, 0), (0, 1), (0, 0), (0, 1))
    cfg = AdvantageConfig("components", epsilon=NEGLIGIBLE)
    found = ADVANTAGES["components"]([group], cfg, {"correct": 1.0, "format": 1.0})
    third = -1 / 3**0.5
    expected = torch.tensor([3**0.5 - 1, third + 1, third - 1, third + 1], dtype=torch.float64)
    assert torch.allclose(found, expected / (2 - 2 / 3**0.5) ** 0.5)
    assert found[0] != found[1]


def test_components_are_multiplied_by_their_weights():
    group = with_components((1, 0), (0, 1))
    cfg = AdvantageConfig("components", epsilon=NEGLIGIBLE)
    # 3 * (1, -1) + 1 * (-1, 1) = (2, -2), divided by 2
    found = ADVANTAGES["components"]([group], cfg, {"correct": 3.0, "format": 1.0})
    assert found.tolist() == pytest.approx([1.0, -1.0])


def test_a_single_component_gives_the_advantages_of_grpo():
    groups = [with_components((1, 0), (0, 0), (0, 0)), with_components((1, 0), (1, 0), (0, 0))]
    separate = ADVANTAGES["components"](groups, AdvantageConfig("components", epsilon=NEGLIGIBLE), {"correct": 1.0})
    assert torch.allclose(separate, group_advantages(groups, AdvantageConfig(epsilon=NEGLIGIBLE), {}))


def mean_over_all_sets(correct: list[bool], k: int) -> torch.Tensor:
    """Pass@k advantages by their definition: the mean normalized reward of all sets of k that contain a completion."""
    sets = list(itertools.combinations(range(len(correct)), k))
    earned = torch.tensor([float(any(correct[i] for i in members)) for members in sets], dtype=torch.float64)
    advantage = (earned - earned.mean()) / earned.std(correction=0)
    return torch.stack(
        [
            torch.stack([a for a, members in zip(advantage, sets, strict=True) if i in members]).mean()
            for i in range(len(correct))
        ]
    )


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("right", [1, 2, 3])
def test_pass_at_k_advantages_equal_the_mean_over_all_sets(k, right):
    correct = [index < right for index in range(6)]
    assert torch.allclose(pass_at_k_group(correct, k), mean_over_all_sets(correct, k))


def test_pass_at_k_by_hand():
    # 1 of 4 is correct, k = 2: 3 of the 6 sets earn 1, so M = S = 1/2. The correct completion gets 1. A wrong one is
    # in 3 sets, of which 1 contains the correct completion: (1 - 1/2 - 2/3) / (1/2) = -1/3.
    assert torch.allclose(
        pass_at_k_group([True, False, False, False], 2), torch.tensor([1.0, -1 / 3, -1 / 3, -1 / 3]).double()
    )
    # 3 of 4 are correct: every pair contains a correct completion, so all sets earn the same.
    assert not pass_at_k_group([True, True, True, False], 2).any()
    cfg = AdvantageConfig("pass_at_k", k=2)
    assert torch.allclose(
        ADVANTAGES["pass_at_k"]([group_of([1.0, 0.1, 0.0, 0.0])], cfg, {})[0], torch.tensor(1.0).double()
    )


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), min_size=2, max_size=16), st.integers(1, 8))
def test_pass_at_k_advantages_add_up_to_zero(correct, k):
    found = pass_at_k_group(correct, min(k, len(correct)))
    assert abs(found.sum().item()) < 1e-9


def test_rewards_to_go_by_hand():
    # rewards 1 and 0 with penalties 0.1, 0.2 | 0.4: returns 0.7, 0.8 | -0.4; their mean over tokens is 1.1 / 3
    penalty = torch.tensor([[0.1, 0.2], [0.4, 0.0]]).double()
    mask = torch.tensor([[True, True], [True, False]])
    cfg = AdvantageConfig(baseline="batch_mean", scale="none")
    found = reward_to_go_advantages(torch.tensor([1.0, 0.0]).double(), penalty, mask, cfg)
    mean = 1.1 / 3
    assert torch.allclose(found, torch.tensor([[0.7 - mean, 0.8 - mean], [-0.4 - mean, 0.0]]).double())
    scaled = reward_to_go_advantages(
        torch.tensor([1.0, 0.0]).double(),
        penalty,
        mask,
        dataclasses.replace(cfg, scale="batch_std", epsilon=NEGLIGIBLE),
    )
    assert scaled[mask].mean().item() == pytest.approx(0) and scaled[mask].std(correction=0).item() == pytest.approx(1)


def test_rewards_to_go_without_loss_tokens_are_zero():
    mask = torch.zeros(2, 2, dtype=torch.bool)
    cfg = AdvantageConfig(baseline="batch_mean", scale="batch_std")
    found = reward_to_go_advantages(torch.ones(2).double(), torch.zeros(2, 2).double(), mask, cfg)
    assert not found.any()


def batch_with_kl(*rewards: list[float]):
    """Completions of 2, 3, 2, 3, ... tokens, with a k1 estimate of 0.5 per token."""
    groups = [group_of(row, lengths=[2, 3] * (len(row) // 2)) for row in rewards]
    batch = make_batch(groups, torch.zeros(sum(map(len, rewards))))
    return dataclasses.replace(batch, old_logprobs=-1.0 * batch.mask, ref_logprobs=-1.5 * batch.mask)


def test_tokens_of_a_completion_share_its_advantage_and_padding_has_none():
    groups = [group_of([1.0, 0.0], lengths=[2, 3])]
    found = make_batch(groups, group_advantages(groups, AdvantageConfig(scale="none"), {})).advantages
    assert found.tolist() == [[0.5, 0.5, 0.0], [-0.5, -0.5, -0.5]]


def test_the_summed_kl_of_a_completion_is_subtracted_from_its_reward():
    cfg = AdvantageConfig(baseline="leave_one_out", scale="none")
    found = kl_penalized_advantages(batch_with_kl([1.0, 0.0]), cfg, KlConfig(0.2, "reward", "k1"))
    # 1 - 0.2 * 1.0 = 0.8 and 0 - 0.2 * 1.5 = -0.3
    assert torch.allclose(found, torch.tensor([[1.1, 1.1, 0.0], [-1.1, -1.1, -1.1]]))


def test_rewards_minus_kl_are_normalized_within_each_group():
    cfg = AdvantageConfig(scale="none")
    batch = batch_with_kl([1.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    found = kl_penalized_advantages(batch, cfg, KlConfig(0.2, "reward", "k1"))[:, 0]
    # completions of 2 and 3 tokens lose 0.2 * 0.5 * 2 = 0.2 and 0.3: 0.8, -0.3 (mean 0.25) | -0.2, -0.3, 0.8, -0.3 (0)
    expected = [0.8 - 0.25, -0.3 - 0.25, -0.2, -0.3, 0.8, -0.3]
    assert torch.allclose(found, torch.tensor(expected))


def test_the_kl_to_go_grows_towards_the_start():
    batch = batch_with_kl([1.0, 0.0])
    cfg = AdvantageConfig(baseline="batch_mean", scale="none")
    found = kl_penalized_advantages(batch, cfg, KlConfig(0.2, "reward_to_go", "k1"))
    to_go = torch.tensor([[0.8, 0.9, 0.0], [-0.3, -0.2, -0.1]])
    expected = (to_go - to_go[batch.mask].mean()) * batch.mask
    assert torch.allclose(found, expected)

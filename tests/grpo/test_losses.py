import math

import pytest
import torch

from grpo.losses import grpo_loss, k3, token_weights


def terms(ratio: float, advantage: float, kl_coef: float = 0.0, clip_low: float = 0.2, clip_high: float = 0.2):
    """Loss terms and the gradient to logprobs of one token with this policy ratio."""
    logprobs = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    result = grpo_loss(logprobs, zero, advantages, zero, clip_low, clip_high, kl_coef)
    (gradient,) = torch.autograd.grad(result.loss.sum(), logprobs)
    return result, gradient.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),  # on policy: -A, and d(-A e^x)/dx = -A at x = 0
        (1.1, 2.0, -2.2, -2.2),  # inside the band: -ratio A, gradient the same
        (1.5, 2.0, -2.4, 0.0),  # above 1.2 with A > 0: clipped at -1.2 A, no gradient
        (1.5, -2.0, 3.0, 3.0),  # above with A < 0: the minimum keeps -ratio A and its gradient
        (0.5, -2.0, 1.6, 0.0),  # below 0.8 with A < 0: clipped at -0.8 A
        (0.5, 2.0, -1.0, -1.0),  # below with A > 0: not clipped
    ],
)
def test_clipped_loss_and_gradient_by_hand(ratio, advantage, loss, gradient):
    result, found = terms(ratio, advantage)
    assert result.loss.item() == pytest.approx(loss)
    assert found == pytest.approx(gradient)


def test_clip_shares_count_only_where_the_clip_acts():
    assert terms(1.5, 2.0)[0].clipped_high.item() and not terms(1.5, -2.0)[0].clipped_high.item()
    assert terms(0.5, -2.0)[0].clipped_low.item() and not terms(0.5, 2.0)[0].clipped_low.item()


def test_clip_high_can_be_wider_than_clip_low():
    assert terms(1.25, 1.0, clip_high=0.28)[0].loss.item() == pytest.approx(-1.25)
    assert terms(1.25, 1.0, clip_high=0.2)[0].loss.item() == pytest.approx(-1.2)


def test_k3_by_hand():
    # logprobs = log 2 above the reference: e^(-log 2) + log 2 - 1 = log 2 - 1/2
    value = k3(torch.tensor(math.log(2.0)), torch.tensor(0.0))
    assert value.item() == pytest.approx(math.log(2) - 0.5)
    assert k3(torch.tensor(-1.0), torch.tensor(-1.0)).item() == 0.0


def test_kl_gradient_by_hand():
    # d k3 / d logprobs = 1 - e^(ref - logprobs) = 1 - 1/2 at a ratio of 2; A = 0 leaves the KL alone
    result, gradient = terms(2.0, 0.0, kl_coef=0.1)
    assert gradient == pytest.approx(0.1 * 0.5)
    assert result.kl.item() == pytest.approx(math.log(2) - 0.5)


def test_without_a_reference_there_is_no_kl():
    zero = torch.zeros(1, 1)
    assert grpo_loss(zero, zero, torch.ones(1), None, 0.2, 0.2, 0.5).loss.item() == -1.0


def test_loss_gradient_agrees_with_finite_differences():
    torch.manual_seed(0)
    logprobs = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    old, ref = logprobs.detach() + 0.05, logprobs.detach() - 0.3
    advantages = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: grpo_loss(x, old, advantages, ref, 0.2, 0.2, 0.1).loss, logprobs)


def test_token_weights_by_hand():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    by_token = token_weights(mask, "token", 3)
    by_sequence = token_weights(mask, "sequence", 3)
    assert torch.allclose(by_token, torch.tensor([[0.25, 0.25, 0.25], [0.25, 0, 0]]))
    assert torch.allclose(by_sequence, torch.tensor([[1 / 6, 1 / 6, 1 / 6], [1 / 2, 0, 0]]))
    # 2 completions of at most 5 tokens each
    assert torch.allclose(token_weights(mask, "constant", 5), mask.float() / 10)

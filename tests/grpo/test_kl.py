import dataclasses
import math

import pytest
import torch

from grpo.advantages import kl_penalty
from grpo.kl import kl_estimate, kl_loss
from grpo.settings import KL_ESTIMATORS, KlConfig
from tests.builders import random_batch


@pytest.mark.parametrize(
    ("estimator", "expected"),
    # log(policy / reference) = log 2: k3 is e^(-log 2) + log 2 - 1
    [("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", math.log(2) - 0.5)],
)
def test_estimates_by_hand(estimator, expected):
    found = kl_estimate(torch.tensor(math.log(2.0)), torch.tensor(0.0), estimator)
    assert found.item() == pytest.approx(expected)
    assert kl_estimate(torch.tensor(-1.0), torch.tensor(-1.0), estimator).item() == 0.0


def policies():
    """Logits of a policy over five tokens, with gradient, and log-probabilities of a reference."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    return logits, torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)


def kl_and_its_gradient(logits, reference):
    logprobs = logits.log_softmax(0)
    kl = (logprobs.exp() * (logprobs - reference)).sum()
    return kl.item(), torch.autograd.grad(kl, logits)[0]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator):
    logits, reference = policies()
    logprobs = logits.log_softmax(0)
    mean = (logprobs.exp() * kl_estimate(logprobs, reference, estimator)).sum()
    assert mean.item() == pytest.approx(kl_and_its_gradient(logits, reference)[0])


def mean_gradient(estimator: str, unbiased: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The expected gradient of the estimate in the loss, and the gradient of the KL itself."""
    logits, reference = policies()
    logprobs = logits.log_softmax(0)
    per_token = kl_loss(logprobs, logprobs.detach(), reference, KlConfig(0.0, "loss", estimator, unbiased))
    mean = (logprobs.detach().exp() * per_token).sum()
    return torch.autograd.grad(mean, logits)[0], kl_and_its_gradient(logits, reference)[1]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_with_unbiased_the_expected_gradient_is_that_of_the_kl(estimator):
    found, expected = mean_gradient(estimator, unbiased=True)
    assert torch.allclose(found, expected)


def test_the_expected_gradient_of_k2_is_that_of_the_kl():
    found, expected = mean_gradient("k2", unbiased=False)
    assert torch.allclose(found, expected)


def test_the_expected_gradient_of_k1_is_zero_and_that_of_k3_is_biased():
    assert torch.allclose(mean_gradient("k1", unbiased=False)[0], torch.zeros(5, dtype=torch.float64))
    found, expected = mean_gradient("k3", unbiased=False)
    assert not torch.allclose(found, expected, rtol=1e-2)


@pytest.mark.parametrize("apply_to", ["reward", "reward_to_go"])
@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_the_penalty_uses_the_log_probabilities_of_the_old_policy(apply_to, estimator):
    batch = random_batch([2, 3])
    found = kl_penalty(batch, KlConfig(0.5, apply_to, estimator))
    expected = 0.5 * kl_estimate(batch.old_logprobs.double(), batch.ref_logprobs.double(), estimator) * batch.mask
    assert torch.equal(found, expected) and found.any() and not found[0, 2]


def test_a_coefficient_of_zero_needs_no_reference():
    batch = dataclasses.replace(random_batch([2, 3]), ref_logprobs=None)
    assert not kl_penalty(batch, KlConfig(0.0, "reward")).any()

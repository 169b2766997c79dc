"""Each loss against values worked out by hand, its gradient in closed form, and finite differences."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.grpo import token_losses, token_weights
from grpo.losses import POLICY_LOSSES
from grpo.settings import AGGREGATIONS, LOSSES, CorrectionConfig, KlConfig, LossConfig
from tests.builders import random_batch

CLIPS = {
    "ppo": {},
    "reinforce": {},
    "gspo": {"clip_low": 0.1, "clip_high": 0.15},
    "cispo": {"clip_low": 1.0, "clip_high": 0.5},
    "sapo": {},
    "gmpo": {"clip_low": 0.4, "clip_high": 0.4},
    "nll": {},
}


def config(name: str, **changes) -> LossConfig:
    return LossConfig(name, **CLIPS[name] | changes)


def one_completion(name: str, ratios: list[float], advantage: float, **changes):
    """The losses of a completion whose tokens have these policy ratios, and the gradient of their sum."""
    logprobs = torch.tensor([[math.log(r) for r in ratios]], dtype=torch.float64, requires_grad=True)
    old, mask = torch.zeros_like(logprobs), torch.ones(logprobs.shape, dtype=torch.bool)
    terms = POLICY_LOSSES[name](logprobs, old, torch.full_like(old, advantage), mask, config(name, **changes))
    (gradient,) = torch.autograd.grad(terms.loss.sum(), logprobs)
    return terms, terms.loss[0].tolist(), gradient[0].tolist()


def losses_of(batch, logprobs, name="ppo", entropy=None, kl=None, correction=None, **changes):
    """`token_losses` with the loss `name`."""
    entropy = torch.zeros_like(logprobs) if entropy is None else entropy
    kl, correction = kl or KlConfig(0.0), correction or CorrectionConfig()
    return token_losses(POLICY_LOSSES[name], batch, logprobs, entropy, config(name, **changes), kl, correction)


def close(*numbers: float):
    return pytest.approx(list(numbers), rel=1e-9, abs=1e-12)


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
def test_ppo_by_hand(ratio, advantage, loss, gradient):
    _, losses, gradients = one_completion("ppo", [ratio], advantage)
    assert losses == close(loss) and gradients == close(gradient)


def test_the_clip_above_can_be_wider_than_the_clip_below():
    assert one_completion("ppo", [1.25], 1.0, clip_high=0.28)[1] == close(-1.25)
    assert one_completion("ppo", [1.25], 1.0, clip_high=0.2)[1] == close(-1.2)


def test_dual_clip_bounds_the_loss_of_a_negative_advantage():
    # ratio 5, A = -2: ppo's loss is 10; with c = 3 it is 6 and has no gradient
    assert one_completion("ppo", [5.0], -2.0)[1:] == (close(10.0), close(10.0))
    assert one_completion("ppo", [5.0], -2.0, dual_clip=3.0)[1:] == (close(6.0), close(0.0))
    # losses below the bound and positive advantages do not change
    assert one_completion("ppo", [2.0], -2.0, dual_clip=3.0)[1:] == (close(4.0), close(4.0))
    assert one_completion("ppo", [5.0], 2.0, dual_clip=3.0)[1] == close(-2.4)


def test_tokens_are_reported_as_clipped_only_where_clipping_changes_the_loss():
    for ratio, advantage, low, high in ((1.5, 2.0, 0, 1), (1.5, -2.0, 0, 0), (0.5, -2.0, 1, 0), (0.5, 2.0, 0, 0)):
        for name in ("ppo", "gmpo"):
            terms = one_completion(name, [ratio], advantage)[0]
            assert (terms.clipped_low.sum(), terms.clipped_high.sum()) == (low, high)


def test_the_negative_log_likelihood_is_weighted_by_the_advantage_and_has_no_ratio():
    # The old log-probabilities are 0, so the current ones are log 3 and log 1/4: the losses are -2 log 3 and 2 log 4.
    found = one_completion("nll", [3.0, 0.25], 2.0)
    assert found[1:] == (close(-2 * math.log(3), 2 * math.log(4)), close(-2.0, -2.0))


def test_reinforce_is_never_clipped():
    assert one_completion("reinforce", [3.0, 0.25], 2.0)[1:] == (close(-6.0, -0.5), close(-6.0, -0.5))


def test_gspo_gives_each_token_the_completion_s_geometric_mean():
    # ratios 1.21 and 1: s = sqrt(1.21) = 1.1, inside 0.9..1.15; the sum of the two losses is -2 s A, and
    # d s / d x_t = s / 2, so each token's gradient is -s A
    assert one_completion("gspo", [1.21, 1.0], 2.0)[1:] == (close(-2.2, -2.2), close(-2.2, -2.2))
    # 1.44 and 1: s = 1.2 is clipped at 1.15, for both tokens
    assert one_completion("gspo", [1.44, 1.0], 2.0)[1:] == (close(-2.3, -2.3), close(0.0, 0.0))
    assert one_completion("gspo", [1.44, 1.0], -2.0)[1] == close(2.4, 2.4)


def test_cispo_clips_the_weight_and_keeps_the_gradient():
    # the weight min(ratio, 1.5) is a constant: the gradient is -weight A, also beyond the clip
    _, losses, gradients = one_completion("cispo", [3.0, 0.25], 2.0)
    assert gradients == close(-3.0, -0.5)
    assert losses == close(-3.0 * math.log(3), -0.5 * math.log(0.25))


def test_sapo_is_a_gate_with_slope_one_at_ratio_one():
    # ratio 1: sigmoid(0) = 1/2, loss -(4 / tau) A / 2; gradient -4/tau * tau * 1/4 * ratio * A = -A
    assert one_completion("sapo", [1.0], 2.0, tau_positive=2.0)[1:] == (close(-2.0), close(-2.0))
    assert one_completion("sapo", [1.0], -2.0, tau_negative=0.5)[1:] == (close(8.0), close(2.0))
    # ratio 2, tau 1: sigmoid(1) = s; gradient -4 s (1 - s) * 2 * A
    s = 1 / (1 + math.exp(-1))
    assert one_completion("sapo", [2.0], 1.0)[1:] == (close(-4 * s), close(-8 * s * (1 - s)))


def test_gmpo_clips_each_token_before_the_mean():
    # ratios e^0.2 and e^-0.6, A > 0: only above is clipped, the mean of 0.2 and -0.6 is -0.2
    value = -2 * math.exp(-0.2)
    assert one_completion("gmpo", [math.exp(0.2), math.exp(-0.6)], 2.0)[1:] == (
        close(value, value),
        close(value, value),
    )
    # e^0.8 is clipped to e^0.4 and loses its gradient: the mean of 0.4 and 0.2 is 0.3
    value = -2 * math.exp(0.3)
    found = one_completion("gmpo", [math.exp(0.8), math.exp(0.2)], 2.0)
    assert found[1:] == (close(value, value), close(0.0, value))
    # A < 0: only below is clipped; -0.6 becomes -0.4, the mean with 0.8 is 0.2
    value = 2 * math.exp(0.2)
    found = one_completion("gmpo", [math.exp(0.8), math.exp(-0.6)], -2.0)
    assert found[1:] == (close(value, value), close(value, 0.0))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("advantage", [1.5, -0.5])
def test_on_policy_every_loss_has_the_gradient_of_reinforce(name, advantage):
    assert one_completion(name, [1.0, 1.0, 1.0], advantage)[2] == close(*[-advantage] * 3)


def closed_form_gradient(name: str, x: torch.Tensor, a: torch.Tensor, mask: torch.Tensor, cfg: LossConfig):
    """d(sum of losses) / d(logprobs), token by token, without autograd."""
    gradient = torch.zeros_like(x)
    for i in range(len(x)):
        tokens = [t for t in range(x.shape[1]) if mask[i, t]]
        adv = float(a[i, 0])
        mean = sum(float(x[i, t]) for t in tokens) / len(tokens)
        capped = [min(float(x[i, t]), 0.4) if adv > 0 else max(float(x[i, t]), -0.4) for t in tokens]
        for t in tokens:
            ratio = math.exp(float(x[i, t]))
            inside_above = ratio <= 1 + cfg.clip_high if adv > 0 else ratio >= 1 - cfg.clip_low
            if name == "ppo":
                weight = ratio if inside_above else 0.0
            elif name == "nll":
                weight = 1.0
            elif name == "reinforce":
                weight = ratio
            elif name == "gspo":
                s = math.exp(mean)
                weight = s if (s <= 1 + cfg.clip_high if adv > 0 else s >= 1 - cfg.clip_low) else 0.0
            elif name == "cispo":
                weight = min(max(ratio, 1 - cfg.clip_low), 1 + cfg.clip_high)
            elif name == "sapo":
                tau = cfg.tau_positive if adv > 0 else cfg.tau_negative
                gate = 1 / (1 + math.exp(-tau * (ratio - 1)))
                weight = 4 * gate * (1 - gate) * ratio
            else:
                free = float(x[i, t]) <= 0.4 if adv > 0 else float(x[i, t]) >= -0.4
                weight = math.exp(sum(capped) / len(tokens)) if free else 0.0
            gradient[i, t] = -adv * weight
    return gradient


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 10_000))
def test_the_gradient_of_every_loss_equals_its_closed_form(name, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    batch = random_batch(lengths, seed)
    x = 0.5 * torch.randn(batch.mask.shape, generator=generator, dtype=torch.float64) * batch.mask
    advantages = batch.advantages.double()
    x.requires_grad_()
    terms = POLICY_LOSSES[name](x, torch.zeros_like(x), advantages, batch.mask, config(name))
    (found,) = torch.autograd.grad((terms.loss * batch.mask).sum(), x)
    expected = closed_form_gradient(name, x.detach(), advantages, batch.mask, config(name))
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"cispo"}))
@pytest.mark.parametrize("kl", [KlConfig(0.0), KlConfig(0.3, estimator="k2"), KlConfig(0.3, unbiased=True)])
def test_every_loss_agrees_with_finite_differences(name, kl):
    batch = as_float64(random_batch([3, 5, 2], seed=3))
    logprobs = (batch.old_logprobs + 0.3 * torch.randn(batch.mask.shape, dtype=torch.float64)).requires_grad_()
    correction = CorrectionConfig("token", "truncate", high=1.5)
    weights = token_weights(batch.loss_mask, "sequence", 8).double()

    def loss(x):
        return (weights * losses_of(batch, x, name, kl=kl, correction=correction)[0]).sum()

    assert torch.autograd.gradcheck(loss, logprobs)


def test_cispo_agrees_with_finite_differences_if_its_weight_is_constant():
    """The weight of CISPO has no gradient, so finite differences must keep it constant."""
    batch = as_float64(random_batch([3, 5, 2], seed=3))
    at = batch.old_logprobs + 0.5 * torch.randn(batch.mask.shape, dtype=torch.float64)
    held = torch.exp(at - batch.old_logprobs).clamp(0.0, 1.5)
    x = at.clone().requires_grad_()
    terms = POLICY_LOSSES["cispo"](x, batch.old_logprobs, batch.advantages, batch.mask, config("cispo"))
    (found,) = torch.autograd.grad(terms.loss.sum(), x)
    step = 1e-6
    for i, t in batch.mask.nonzero().tolist():
        nudge = torch.zeros_like(at)
        nudge[i, t] = step

        def value(point: torch.Tensor) -> float:
            return float((-held * batch.advantages * point).sum())

        assert float(found[i, t]) == pytest.approx((value(at + nudge) - value(at - nudge)) / (2 * step), abs=1e-6)


def as_float64(batch):
    doubled = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return type(batch)(**{k: v.double() if v is not None and v.is_floating_point() else v for k, v in doubled.items()})


def test_the_entropy_is_subtracted_from_the_loss():
    batch = random_batch([2, 3])
    entropy = torch.rand(batch.mask.shape)
    plain, _ = losses_of(batch, batch.old_logprobs, entropy=entropy)
    with_bonus, _ = losses_of(batch, batch.old_logprobs, entropy=entropy, entropy_coef=0.1)
    assert torch.allclose(with_bonus, plain - 0.1 * entropy)


def test_without_a_reference_there_is_no_kl():
    batch = dataclasses.replace(random_batch([2, 3]), ref_logprobs=None)
    assert not losses_of(batch, batch.old_logprobs)[1]["kl"].any()


def test_the_kl_in_the_loss_is_weighted_by_its_coefficient():
    batch = random_batch([2, 3])
    off, _ = losses_of(batch, batch.old_logprobs)
    on, reported = losses_of(batch, batch.old_logprobs, kl=KlConfig(0.5))
    assert torch.allclose(on, off + 0.5 * reported["kl"]) and reported["kl"].any()
    assert torch.equal(losses_of(batch, batch.old_logprobs, kl=KlConfig(0.5, "reward"))[0], off)


def test_the_correction_weights_only_the_policy_loss():
    batch = random_batch([2, 3])
    plain, _ = losses_of(batch, batch.old_logprobs)
    correction = CorrectionConfig("token", "truncate", high=0.6)
    corrected, reported = losses_of(batch, batch.old_logprobs, kl=KlConfig(0.5), correction=correction)
    assert torch.allclose(corrected, reported["correction"] * plain + 0.5 * reported["kl"])
    assert (reported["correction"] < 1).any()


def test_token_weights_by_hand():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    by_token = token_weights(mask, "token", 3)
    by_sequence = token_weights(mask, "sequence", 3)
    assert torch.allclose(by_token, torch.tensor([[0.25, 0.25, 0.25], [0.25, 0, 0]]))
    assert torch.allclose(by_sequence, torch.tensor([[1 / 6, 1 / 6, 1 / 6], [1 / 2, 0, 0]]))
    # 2 completions of at most 5 tokens each
    assert torch.allclose(token_weights(mask, "constant", 5), mask.float() / 10)


def test_completions_without_loss_tokens_have_no_weight():
    mask = torch.tensor([[False, False], [True, True]])
    half = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    assert torch.equal(token_weights(mask, "token", 4), half)
    assert torch.equal(token_weights(mask, "sequence", 4), half)
    for aggregation in AGGREGATIONS:
        assert not token_weights(torch.zeros(2, 2, dtype=torch.bool), aggregation, 4).any()


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    st.sampled_from(AGGREGATIONS),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_the_loss_does_not_depend_on_the_split_into_ranks_and_micro_batches(name, lengths, aggregation, parts, random):
    """Completions go to `parts` ranks in a random order; the token weights are those of the whole batch."""
    batch = as_float64(random_batch(lengths))
    logprobs = (batch.old_logprobs + 0.2).requires_grad_()
    weights = token_weights(batch.loss_mask, aggregation, 8)
    whole = (weights * losses_of(batch, logprobs, name, kl=KlConfig(0.1))[0]).sum()
    order = random.sample(range(len(lengths)), len(lengths))
    total = torch.zeros((), dtype=torch.float64)
    for rank in range(min(parts, len(lengths))):
        index = torch.tensor(order[rank :: min(parts, len(lengths))])
        part = batch.rows(index)
        x = logprobs[index, : part.mask.shape[1]]
        per_token = losses_of(part, x, name, kl=KlConfig(0.1))[0]
        total = total + (weights[index, : part.mask.shape[1]] * per_token).sum()
    assert total.item() == pytest.approx(whole.item(), abs=1e-10)
    of_whole, of_parts = (torch.autograd.grad(value, logprobs, retain_graph=True)[0] for value in (whole, total))
    assert torch.allclose(of_whole, of_parts, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_zero_advantages_have_no_gradient(name):
    batch = dataclasses.replace(random_batch([2, 3]), advantages=torch.zeros(2, 3))
    logprobs = (batch.old_logprobs + 0.3).requires_grad_()
    per_token, _ = token_losses(
        POLICY_LOSSES[name],
        batch,
        logprobs,
        torch.zeros_like(logprobs),
        config(name),
        KlConfig(0.0),
        CorrectionConfig(),
    )
    assert not torch.autograd.grad(per_token.sum(), logprobs)[0].any()


@pytest.mark.parametrize("name", LOSSES)
def test_missing_old_logprobs_are_replaced_by_the_current_ones(name):
    """In a step with a single update the old policy is the current one: losses and gradients are equal to the bit."""
    batch = random_batch([2, 3])
    found = []
    for old_logprobs in (batch.old_logprobs, None):
        logprobs = batch.old_logprobs.clone().requires_grad_()
        given = dataclasses.replace(batch, old_logprobs=old_logprobs)
        correction = CorrectionConfig("token", "truncate", high=0.6)
        per_token, reported = losses_of(given, logprobs, name, kl=KlConfig(0.5), correction=correction)
        found.append([per_token, torch.autograd.grad(per_token.sum(), logprobs)[0], *reported.values()])
    assert all(torch.equal(given, missing) for given, missing in zip(*found, strict=True))

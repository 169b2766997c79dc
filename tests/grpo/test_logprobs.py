import pytest
import torch

import grpo.logprobs
from grpo.grpo import completion_logprobs, make_batch
from grpo.types import Completion
from tests.builders import PROBLEM, completion, grouped, packed_model, plain_logprobs, random_batch, small_model


def several_groups():
    """Three groups with prompts of 1, 7 and 4 tokens and completions of 1 to 40 tokens."""
    sizes = {1: [3, 1, 40, 12], 7: [2, 2, 2, 2], 4: [1, 1, 9, 30]}

    def one(prompt: int, length: int) -> Completion:
        ids = [2 + (5 * length + 3 * t + prompt) % 29 for t in range(length)]
        return completion(ids, prompt_ids=range(1, prompt + 1))

    groups = [grouped(PROBLEM, [one(prompt, n) for n in lengths]) for prompt, lengths in sizes.items()]
    return make_batch(groups, torch.zeros(12))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("tokens", [1024, 3])
def test_logprobs_equal_those_of_padded_rows(monkeypatch, temperature, tokens):
    monkeypatch.setattr(grpo.logprobs, "CHUNK_LOGITS", tokens * 32)
    model, batch = packed_model(), several_groups()
    found, _ = completion_logprobs(model, batch, temperature)
    assert torch.allclose(found, plain_logprobs(model, batch, temperature), atol=1e-5)


@pytest.mark.parametrize("tokens", [1024, 3])
def test_the_gradient_equals_that_of_padded_rows(monkeypatch, tokens):
    monkeypatch.setattr(grpo.logprobs, "CHUNK_LOGITS", tokens * 32)
    model, batch = packed_model(), several_groups()
    weights = torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(0)) * batch.mask / batch.num_tokens
    found, _ = completion_logprobs(model, batch, 1.0)
    fast = torch.autograd.grad((found * weights).sum(), list(model.parameters()))
    slow = torch.autograd.grad((plain_logprobs(model, batch, 1.0) * weights).sum(), list(model.parameters()))
    for packed, plain in zip(fast, slow, strict=True):
        assert torch.allclose(packed, plain, atol=1e-5)


def test_the_gradient_is_the_same_to_the_bit_every_time():
    """64 completions share their prompt's last token, and the states are enough for several threads to add them up."""
    model, batch = packed_model(), random_batch([40] * 64)
    parameters = list(model.parameters())
    assert batch.num_tokens * model.config.hidden_size > 2 * 32768  # a thread takes at least 32768 elements

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(completion_logprobs(model, batch, 1.0)[0].sum(), parameters))

    first = gradients()
    for _ in range(20):
        assert all(torch.equal(*pair) for pair in zip(first, gradients(), strict=True))


def test_a_completion_does_not_see_the_others_of_its_group():
    model = packed_model()
    alone, _ = completion_logprobs(model, random_batch([5]), 1.0)
    together, _ = completion_logprobs(model, random_batch([5, 2, 7]), 1.0)
    assert torch.allclose(alone[0], together[0, :5], atol=1e-6)


def test_only_rows_with_the_same_prompt_share_it():
    prompts = [(1, 2), (1, 2), (1, 2, 3), (4, 2), (1, 2)]
    one_group = grouped(PROBLEM, [completion([5, 6, 7], prompt_ids=prompt) for prompt in prompts])
    model, batch = packed_model(), make_batch([one_group], torch.zeros(5))
    found, _ = completion_logprobs(model, batch, 1.0)
    assert torch.allclose(found, plain_logprobs(model, batch, 1.0), atol=1e-5)


def test_each_distinct_token_is_computed_once():
    model, batch = packed_model(), several_groups()
    tokens = []
    model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: tokens.append(output.shape[:2]))
    completion_logprobs(model, batch, 1.0)
    assert tokens == [(1, 1 + 7 + 4 + batch.num_tokens - 12)]  # the last token of a completion predicts nothing


def test_gradient_checkpointing_does_not_change_the_gradient():
    batch = random_batch([5, 2, 7])
    gradients = []
    for checkpointing in (False, True):
        model = packed_model()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        found, _ = completion_logprobs(model, batch, 1.0)
        gradients.append(torch.autograd.grad((found * batch.mask).sum(), list(model.parameters())))
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_entropy_of_a_uniform_distribution_is_the_log_of_the_vocabulary():
    model, batch = packed_model(), random_batch([3])
    with torch.no_grad():
        model.model.norm.weight.zero_()
    _, entropy = completion_logprobs(model, batch, 1.0)
    assert torch.allclose(entropy, torch.full((1, 3), 32.0).log())


@pytest.mark.parametrize(("tokens", "largest", "computed"), [(4, 4, 2 * 15), (15, 15, 15)])
def test_logits_that_are_too_many_exist_for_one_chunk_at_a_time(monkeypatch, tokens, largest, computed):
    """Each of several chunks is computed in the forward pass and again in the backward pass."""
    monkeypatch.setattr(grpo.logprobs, "CHUNK_LOGITS", tokens * 32)
    model, batch = packed_model(), random_batch([9, 6])
    sizes = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, output: sizes.append(output.shape[0]))
    found, _ = completion_logprobs(model, batch, 1.0)
    found.sum().backward()
    assert max(sizes) == largest and sum(sizes) == computed


def test_gradients_of_logprob_and_entropy_equal_those_of_autograd():
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: grpo.logprobs.SelectedLogprobs.apply(x, targets), (logits,))
    logprobs, entropy = grpo.logprobs.SelectedLogprobs.apply(logits, targets)
    expected = torch.distributions.Categorical(logits=logits)
    assert torch.allclose(logprobs, expected.log_prob(targets)) and torch.allclose(entropy, expected.entropy())
    for chosen, plain in ((logprobs, expected.log_prob(targets)), (entropy, expected.entropy())):
        fast, slow = (torch.autograd.grad(each.sum(), logits, retain_graph=True)[0] for each in (chosen, plain))
        assert torch.allclose(fast, slow)


def test_the_plain_logprobs_are_those_of_transformers():
    model, batch = small_model(), random_batch([4])
    loss = model(input_ids=batch.input_ids, labels=batch.input_ids.masked_fill(torch.arange(7) < 3, -100)).loss
    assert torch.allclose(-plain_logprobs(model, batch, 1.0).mean(), loss, atol=1e-6)


def test_the_entropy_is_not_rounded_to_bfloat16():
    logits = torch.randn(64, 999, generator=torch.Generator().manual_seed(0))
    exact = torch.distributions.Categorical(logits=logits.double()).entropy()
    with torch.autocast("cpu", torch.bfloat16):
        _, found = grpo.logprobs.SelectedLogprobs.apply(logits, torch.zeros(64, dtype=torch.long))
    assert found.dtype == torch.float32 and (found - exact).abs().max() < 1e-4

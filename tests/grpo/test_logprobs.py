import pytest
import torch

import grpo.grpo
from grpo.grpo import completion_logprobs
from tests.builders import random_batch, small_model


def naive_logprobs(model, batch, temperature):
    """Row by row, from full logits: position t - 1 predicts the token at t."""
    rows = []
    for row in range(len(batch.prompt_lengths)):
        length = int(batch.lengths[row])
        prompt = int(batch.prompt_lengths[row])
        ids = batch.input_ids[row, :length]
        log_softmax = (model(input_ids=ids[None]).logits[0] / temperature).log_softmax(-1)
        rows.append(torch.stack([log_softmax[t - 1, ids[t]] for t in range(prompt, length)]))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1024, 3])
def test_chunked_logprobs_equal_the_naive_ones(monkeypatch, temperature, chunk):
    monkeypatch.setattr(grpo.grpo, "CHUNK_TOKENS", chunk)
    model, batch = small_model(), random_batch([5, 2, 7])
    found, _ = completion_logprobs(model, batch, temperature)
    assert torch.allclose(found, naive_logprobs(model, batch, temperature), atol=1e-5)


def test_chunked_gradient_equals_the_naive_one(monkeypatch):
    monkeypatch.setattr(grpo.grpo, "CHUNK_TOKENS", 3)
    model, batch = small_model(), random_batch([5, 2, 7])
    found, _ = completion_logprobs(model, batch, 1.0)
    fast = torch.autograd.grad((found * batch.mask).sum(), list(model.parameters()))
    slow = torch.autograd.grad((naive_logprobs(model, batch, 1.0) * batch.mask).sum(), list(model.parameters()))
    for chunked, naive in zip(fast, slow, strict=True):
        assert torch.allclose(chunked, naive, atol=1e-4)


def test_entropy_of_a_uniform_distribution_is_the_log_of_the_vocabulary():
    model, batch = small_model(), random_batch([3])
    with torch.no_grad():
        model.model.norm.weight.zero_()
    _, entropy = completion_logprobs(model, batch, 1.0)
    assert torch.allclose(entropy, torch.full((1, 3), 32.0).log())


def test_logits_exist_for_one_chunk_at_a_time(monkeypatch):
    monkeypatch.setattr(grpo.grpo, "CHUNK_TOKENS", 4)
    model, batch = small_model(), random_batch([9, 6])
    sizes = []
    model.get_output_embeddings().register_forward_hook(lambda module, args, output: sizes.append(output.shape[0]))
    found, _ = completion_logprobs(model, batch, 1.0)
    found.sum().backward()
    assert (
        max(sizes) == 4 and sum(sizes) == 2 * 15
    )  # each chunk is computed in the forward pass and again in the backward pass

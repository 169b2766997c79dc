"""Log-probabilities of completion tokens. The one-token shift happens here and nowhere else."""

from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 1024


class CausalLM(Protocol):
    """What is needed of a transformers model."""

    def get_decoder(self) -> torch.nn.Module: ...

    def get_output_embeddings(self) -> torch.nn.Module: ...


def completion_logprobs(
    model: CausalLM,
    input_ids: Tensor,
    prompt_lengths: Tensor,
    mask: Tensor,
    temperature: float,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token under `model`.

    input_ids       [B, L] prompt then completion then padding. Padding lies on the right, where
                    causal attention never looks, so no attention mask is needed.
    prompt_lengths  [B]
    mask            bool [B, T], true on completion tokens
    temperature     the sampler's: logits are divided by it, or the two would disagree

    Returns: (logprobs [B, T] with gradient, entropy [B, T] in nats), 0 outside the mask; the entropy has
    a gradient where `entropy_gradient` asks for one.
    """
    hidden = model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
    rows, columns = mask.nonzero(as_tuple=True)
    positions = prompt_lengths[rows] + columns
    # The hidden state at position t - 1 predicts the token at position t.
    flat_logprobs, flat_entropy = token_logprobs(
        hidden[rows, positions - 1],
        model.get_output_embeddings(),
        input_ids[rows, positions],
        temperature,
        entropy_gradient,
    )
    logprobs = flat_logprobs.new_zeros(mask.shape).index_put((rows, columns), flat_logprobs)
    entropy = flat_entropy.new_zeros(mask.shape).index_put((rows, columns), flat_entropy)
    return logprobs, entropy


def token_logprobs(
    hidden: Tensor,
    output_embeddings: torch.nn.Module,
    targets: Tensor,
    temperature: float,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probability [N] of each target [N] and entropy [N], from hidden states [N, H].

    Logits exist for CHUNK_TOKENS tokens at a time only: the backward pass computes each chunk
    again instead of keeping [N, vocabulary] alive.
    """

    def one_chunk(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        log_softmax = (output_embeddings(states).float() / temperature).log_softmax(dim=-1)
        with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
            entropy = -(log_softmax.exp() * log_softmax).sum(dim=-1)
        return log_softmax.gather(-1, ids[:, None]).squeeze(-1), entropy

    parts = [
        checkpoint(one_chunk, states, ids, use_reentrant=False)
        for states, ids in zip(hidden.split(CHUNK_TOKENS), targets.split(CHUNK_TOKENS), strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

"""Log-probability and entropy of tokens from hidden states, without keeping more logits than necessary."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_LOGITS = 2**27  # logits that exist at the same time: 512 MB


def token_logprobs(
    hidden: Tensor, output_embeddings: Any, targets: Tensor, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Log-probability [N] of each target [N] and entropy [N], from hidden states [N, H].

    If there are more than CHUNK_LOGITS logits, they exist for a chunk of tokens at a time: the backward pass computes
    each chunk again.
    """

    def one_chunk(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        logits = output_embeddings(states).float()
        logprobs, entropy = SelectedLogprobs.apply(logits if temperature == 1 else logits / temperature, ids)
        return logprobs, entropy if entropy_gradient else entropy.detach()

    tokens = max(1, CHUNK_LOGITS // output_embeddings.weight.shape[0])
    if len(hidden) <= tokens:
        return one_chunk(hidden, targets)
    parts = [
        checkpoint(one_chunk, states, ids, use_reentrant=False)
        for states, ids in zip(hidden.split(tokens), targets.split(tokens), strict=True)
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


class SelectedLogprobs(torch.autograd.Function):
    """log_softmax(logits)[target] [N] and the entropy [N] of logits [N, V].

    With p = softmax(logits) and entropy H the gradients are

        d logprob / d logits_v = [v = target] - p_v,    d H / d logits_v = -p_v (log p_v + H)

    Autograd would make five tensors of the size of the logits; this makes two.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        log_softmax = logits.log_softmax(dim=-1)
        with torch.autocast(logits.device.type, enabled=False):  # which would compute it in bfloat16
            entropy = -torch.linalg.vecdot(log_softmax.exp(), log_softmax)
        ctx.save_for_backward(log_softmax, targets, entropy)
        return log_softmax.gather(-1, targets[:, None]).squeeze(-1), entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        log_softmax, targets, entropy = ctx.saved_tensors
        of_logprob, of_entropy = (None if gradient is None else gradient[:, None] for gradient in gradients)
        result = log_softmax.exp()
        scale = torch.zeros_like(entropy[:, None]) if of_logprob is None else -of_logprob
        result *= scale if of_entropy is None else scale - of_entropy * (log_softmax + entropy[:, None])
        if of_logprob is not None:
            result.scatter_add_(-1, targets[:, None], of_logprob)
        return result, None

"""A micro-batch as one row of distinct tokens: a group's prompt is computed once for all its completions.

    prompt of group 1 and a completion | completion | ... | prompt of group 2 and a completion | ...

Linear layers see this row, which has no padding. Attention sees each completion after its prompt, so that it is causal
and needs no mask, which PyTorch's fast kernels do not accept. Loss and gradients equal those of the padded sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention

if TYPE_CHECKING:
    from grpo.grpo import Batch

WIDEST = 1.5  # sequences attend together if the longest is at most so many times as long as the shortest


@dataclass(frozen=True)
class Sequences:
    """Prompts with their completions that attend together, as positions in the row.

    tokens  int64 [S, L]; padding, on the right, is position 0
    own     int64, which of the flattened tokens this sequence computes: not a prompt that another one computes
    """

    tokens: Tensor
    own: Tensor


@dataclass(frozen=True)
class Packed:
    """A row of N tokens. The last token of a completion is not in it, because it predicts nothing.

    input_ids     int64 [1, N]
    position_ids  int64 [1, N], in the token's own sequence
    starts        int64 [B], position in the row of each completion's first token
    prompt_ends   int64 [B], position of the last token of each completion's prompt
    sequences     what attends together; their own tokens, one after the other, are the row
    """

    input_ids: Tensor
    position_ids: Tensor
    starts: Tensor
    prompt_ends: Tensor
    sequences: list[Sequences]


def pack(batch: "Batch") -> Packed:
    """Neighbouring rows with the same prompt share it, as those of a group; the first of them computes it."""
    prompts = batch.prompt_lengths
    lengths = prompts + (batch.mask.sum(dim=1) - 1).clamp(min=0)
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    is_token = columns < lengths[:, None]
    prompt_ids = torch.where(columns < prompts[:, None], batch.input_ids[:, : len(columns)], -1)
    is_first = torch.ones_like(prompts, dtype=torch.bool)
    is_first[1:] = (prompt_ids[1:] != prompt_ids[:-1]).any(dim=1)
    shared = torch.where(is_first, 0, prompts)  # tokens at the start of a sequence that another one computes
    computed, order = lengths - shared, lengths.argsort(stable=True)
    starts = torch.empty_like(lengths)
    starts[order] = computed[order].cumsum(0) - computed[order]
    prompt_starts = starts[is_first][is_first.cumsum(0) - 1]
    starts = starts + prompts - shared

    ids, positions, sequences = [], [], []
    for rows in similar(order, lengths):
        is_real = is_token[rows, : int(lengths[rows].max())]
        column = columns[: is_real.shape[1]].expand_as(is_real)
        own = is_real & (column >= shared[rows, None])
        in_prompt = column < prompts[rows, None]
        tokens = column + torch.where(in_prompt, prompt_starts[rows, None], (starts - prompts)[rows, None])
        ids.append(batch.input_ids[rows, : is_real.shape[1]][own])
        positions.append(column[own])
        sequences.append(Sequences(tokens * is_real, own.flatten().nonzero().squeeze(1)))
    return Packed(torch.cat(ids)[None], torch.cat(positions)[None], starts, prompt_starts + prompts - 1, sequences)


def similar(order: Tensor, lengths: Tensor) -> list[Tensor]:
    """Split `order`, rows by increasing length, into parts of similar lengths."""
    sizes: list[int] = []
    shortest = 0
    for length in lengths[order].tolist():
        if length > WIDEST * shortest:
            sizes.append(0)
            shortest = length
        sizes[-1] += 1
    return list(order.split(sizes))


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float,
    sequences: Sequence[Sequences],
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it, over a packed row.

    query [1, heads, N, D]; key, value [1, key heads, N, D]. Returns [1, N, heads, D], and no attention weights.
    """
    heads, dim = query.shape[1], query.shape[3]
    rows = [tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value)]  # [N, heads * D]
    outputs = []
    for part in sequences:
        # `embedding` picks rows like `index_select`; its backward pass is faster.
        q, k, v = (embedding(part.tokens, row).unflatten(2, (-1, dim)).transpose(1, 2) for row in rows)
        attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=k.shape[1] != heads)
        outputs.append(embedding(part.own, attended.transpose(1, 2).flatten(0, 1).flatten(1)))
    return torch.cat(outputs).unflatten(1, (heads, dim))[None], None

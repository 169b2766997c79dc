"""A micro-batch as one row of distinct tokens: a group's prompt is computed once for all its completions.

    prompt of group 1 | prompt of group 2 | ... | completion | completion | ...

Linear layers see this row, which has no padding. Attention takes it apart: a prompt attends to itself, a completion
to its prompt and to itself. Loss and gradients equal those of the padded sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention

if TYPE_CHECKING:
    from grpo.grpo import Batch

WIDEST = 1.5  # completions attend together if the longest is at most so many times as long as the shortest


@dataclass(frozen=True)
class Sequences:
    """Padded sequences that attend together, as positions in the row.

    queries  int64 [S, Q]; keys: int64 [S, K]; padding is position 0
    mask     bool [S, 1, Q, K], true where a query sees a key; None if it sees all keys up to its own
    real     int64 [tokens], the positions of the flattened queries that are not padding
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None
    real: Tensor


@dataclass(frozen=True)
class Packed:
    """A row of N tokens. The last token of a completion is not in it, because it predicts nothing.

    input_ids     int64 [1, N]
    position_ids  int64 [1, N], in the token's own sequence
    starts        int64 [B], position in the row of each completion's first token
    prompt_ends   int64 [B], position of the last token of each completion's prompt
    sequences     what attends together; their real tokens, one after the other, are the row
    """

    input_ids: Tensor
    position_ids: Tensor
    starts: Tensor
    prompt_ends: Tensor
    sequences: list[Sequences]


def pack(batch: "Batch") -> Packed:
    """Neighbouring rows with the same prompt share it, as those of a group."""
    own_columns, is_own = columns_within(batch.prompt_lengths)
    own_prompts = torch.where(is_own, batch.input_ids[:, : len(own_columns)], -1)
    is_first = torch.ones_like(batch.group_ids, dtype=torch.bool)
    is_first[1:] = (own_prompts[1:] != own_prompts[:-1]).any(dim=1)
    leaders, group = is_first.nonzero().squeeze(1), is_first.cumsum(0) - 1
    prompts = batch.prompt_lengths[leaders]
    prompt_starts = prompts.cumsum(0) - prompts
    lengths = (batch.mask.sum(dim=1) - 1).clamp(min=0)
    order = lengths.argsort(stable=True)
    starts = torch.empty_like(lengths)
    starts[order] = int(prompts.sum()) + lengths[order].cumsum(0) - lengths[order]

    prompt_columns, is_prompt = columns_within(prompts)
    prompt_ids = batch.input_ids[leaders][:, : is_prompt.shape[1]]
    prompt_positions = padded(prompt_starts, prompt_columns, is_prompt)
    ids, positions = [prompt_ids[is_prompt]], [prompt_columns.expand_as(is_prompt)[is_prompt]]
    sequences = [Sequences(prompt_positions, prompt_positions, None, is_prompt.flatten().nonzero().squeeze(1))]
    for rows in similar(order, lengths):
        columns, is_token = columns_within(lengths[rows])
        offsets = batch.prompt_lengths[rows, None] + columns
        ids.append(batch.input_ids[rows].gather(1, offsets.clamp(max=batch.input_ids.shape[1] - 1))[is_token])
        positions.append(offsets[is_token])
        queries, seen = padded(starts[rows], columns, is_token), is_prompt[group[rows]]
        causal = (columns <= columns[:, None]).expand(len(rows), -1, -1)
        mask = torch.cat([seen[:, None].expand(-1, causal.shape[1], -1), causal], dim=2)
        keys = torch.cat([prompt_positions[group[rows]], queries], dim=1)
        sequences.append(Sequences(queries, keys, mask[:, None], is_token.flatten().nonzero().squeeze(1)))
    ends = (prompt_starts + prompts - 1)[group]
    return Packed(torch.cat(ids)[None], torch.cat(positions)[None], starts, ends, sequences)


def columns_within(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The columns [C] of padded rows with these lengths [S], and bool [S, C], true on tokens."""
    columns = torch.arange(int(lengths.max()), device=lengths.device)
    return columns, columns < lengths[:, None]


def padded(starts: Tensor, columns: Tensor, is_token: Tensor) -> Tensor:
    """Positions [S, C] of rows that begin at `starts` [S], 0 on padding."""
    return (starts[:, None] + columns) * is_token


def similar(order: Tensor, lengths: Tensor) -> list[Tensor]:
    """Split `order`, rows by increasing length, into parts of similar lengths. Rows of length 0 are left out."""
    sizes, sorted_lengths = [0], lengths[order].tolist()
    shortest = 0
    for length in sorted_lengths:
        if length > WIDEST * shortest:
            sizes.append(0)
            shortest = length
        sizes[-1] += 1
    return list(order.split(sizes))[1:]


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
        q, k, v = (
            embedding(positions, row).unflatten(2, (-1, dim)).transpose(1, 2)
            for row, positions in zip(rows, (part.queries, part.keys, part.keys), strict=True)
        )
        attended = scaled_dot_product_attention(
            q, k, v, part.mask, is_causal=part.mask is None, scale=scaling, enable_gqa=k.shape[1] != heads
        )
        outputs.append(embedding(part.real, attended.transpose(1, 2).flatten(0, 1).flatten(1)))
    return torch.cat(outputs).unflatten(1, (heads, dim))[None], None

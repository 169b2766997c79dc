"""Groups become tensors; tensors become mini-batches and micro-batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from grpo.types import Group


@dataclass(frozen=True)
class Batch:
    """B completions as right-padded tensors. L: longest prompt + completion, T: longest completion.

    Per-token tensors are aligned to completion tokens: column t is the t-th generated token.
    """

    input_ids: Tensor  # int64 [B, L], prompt then completion then padding
    prompt_lengths: Tensor  # int64 [B]
    mask: Tensor  # bool [B, T], true on completion tokens
    loss_mask: Tensor  # bool [B, T], true on those that carry loss
    behavior_logprobs: Tensor  # float32 [B, T], recorded by the sampler
    advantages: Tensor | None = None  # float32 [B, T]
    old_logprobs: Tensor | None = None  # float32 [B, T], the actor before this step's first update
    ref_logprobs: Tensor | None = None  # float32 [B, T], the reference; None when the KL is off

    def __len__(self) -> int:
        """B."""
        return len(self.prompt_lengths)

    @property
    def num_tokens(self) -> int:
        """Completion tokens."""
        return int(self.mask.sum())

    @property
    def lengths(self) -> Tensor:
        """Prompt plus completion, int64 [B]."""
        return self.prompt_lengths + self.mask.sum(dim=1)

    def rows(self, index: Tensor) -> "Batch":
        """The chosen rows, cut to the longest of them."""
        width = int(self.lengths[index].max())
        columns = int(self.mask[index].sum(dim=1).max())
        chosen: dict[str, Tensor | None] = {}
        for field in fields(self):
            tensor = getattr(self, field.name)
            if tensor is not None:
                tensor = tensor[index]
                tensor = tensor[:, : width if field.name == "input_ids" else columns] if tensor.dim() == 2 else tensor
            chosen[field.name] = tensor
        return Batch(**chosen)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> "Batch":
        moved = {f.name: t.to(device) for f in fields(self) if (t := getattr(self, f.name)) is not None}
        return replace(self, **moved)


def make_batch(groups: Sequence[Group], mask_truncated: bool = False, pad_id: int = 0) -> Batch:
    """Stack the rollouts of all groups, in order. With `mask_truncated`, completions that were cut at
    the limit carry no loss (overlong filtering, DAPO, arXiv 2503.14476, section 3.4)."""
    completions = [rollout.completion for group in groups for rollout in group.rollouts]
    ids = [torch.tensor(c.prompt_ids + c.token_ids) for c in completions]
    behavior = [torch.tensor(c.behavior_logprobs, dtype=torch.float32) for c in completions]
    lengths = torch.tensor([len(c.token_ids) for c in completions])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    carries_loss = torch.tensor([not (mask_truncated and c.truncated) for c in completions])
    return Batch(
        input_ids=torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad_id),
        prompt_lengths=torch.tensor([len(c.prompt_ids) for c in completions]),
        mask=mask,
        loss_mask=mask & carries_loss[:, None],
        behavior_logprobs=torch.nn.utils.rnn.pad_sequence(behavior, batch_first=True),
    )


def minibatches(batch: Batch, count: int) -> Iterator[Batch]:
    """`count` parts of equal size, one optimizer update each; rows are dealt out in turn, so that
    each part sees every group."""
    assert len(batch) % count == 0
    for part in range(count):
        yield batch.rows(torch.arange(part, len(batch), count))


def microbatches(batch: Batch, max_tokens: int, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Batch]]:
    """(row index, part) with at most `max_tokens` tokens a part, padding included; rows of similar
    length go together, so little is padding. A row longer than that is a part of its own.

    Of several `ranks` each gets its share of the parts, all equally many, since they gather the model's layers
    together; B must be a multiple of `ranks`.
    """
    assert len(batch) % ranks == 0
    parts = rows_within(batch.lengths, max_tokens)
    while len(parts) % ranks:
        largest = max(range(len(parts)), key=lambda place: len(parts[place]))
        parts[largest : largest + 1] = parts[largest].tensor_split(2)
    for index in parts[rank::ranks]:
        yield index, batch.rows(index)


def rows_within(lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """The places of rows of these lengths, shortest first, in parts of at most `max_tokens` padded tokens."""
    order = lengths.argsort(stable=True)
    parts, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * int(lengths[order[end]]) <= max_tokens:
            end += 1
        parts.append(order[start:end])
        start = end
    return parts

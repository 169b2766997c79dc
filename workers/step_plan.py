"""Which examples make up a step of supervised fine-tuning, as a function of the seed and the step alone."""

import math
import random
from collections.abc import Sequence

import torch

from grpo.grpo import Batch
from workers.examples import Example


class StepPlan:
    """The examples of each step: in every epoch all of them, in a new order, in batches of up to `batch_tokens` tokens.
    An example with more tokens is a batch of its own."""

    def __init__(self, examples: Sequence[Example], batch_tokens: int, seed: int) -> None:
        self.examples, self.batch_tokens, self.seed = examples, batch_tokens, seed
        self.epochs: list[list[list[int]]] = []

    def num_steps(self, epochs: float) -> int:
        """The number of steps of so many epochs, at least one."""
        whole, part = int(epochs), epochs - int(epochs)
        steps = sum(len(self.epoch(index)) for index in range(whole))
        # 1.1 - 1 is a little more than 0.1, which is no further step.
        return max(1, steps + (math.ceil(round(part * len(self.epoch(whole)), 6)) if part else 0))

    def step(self, step: int) -> list[Example]:
        """The examples of a step, those with equal prompts side by side."""
        epoch, batch = self.position(step)
        chosen = [self.examples[index] for index in self.epoch(epoch)[batch]]
        return sorted(chosen, key=lambda e: (len(e.prompt_ids), e.prompt_ids, len(e.token_ids), e.token_ids))

    def epoch_of(self, step: int) -> float:
        """How many epochs are done after a step."""
        epoch, batch = self.position(step)
        return epoch + (batch + 1) / len(self.epoch(epoch))

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and its batch within the epoch."""
        epoch = 0
        while step >= len(self.epoch(epoch)):
            step -= len(self.epoch(epoch))
            epoch += 1
        return epoch, step

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as indexes of examples."""
        while len(self.epochs) <= epoch:
            order = list(range(len(self.examples)))
            random.Random(f"{self.seed}/{len(self.epochs)}").shuffle(order)
            batches, tokens = list[list[int]](), 0
            for index in order:
                tokens += self.examples[index].num_tokens
                if not batches or tokens > self.batch_tokens:
                    batches.append([])
                    tokens = self.examples[index].num_tokens
                batches[-1].append(index)
            self.epochs.append(batches)
        return self.epochs[epoch]


def example_batch(examples: Sequence[Example], ranks: int = 1) -> Batch:
    """The examples as a batch whose `advantages` are their weights, scaled so that the mean weight of the tokens that
    carry loss is 1. The last example is repeated, without loss, until `ranks` divides the number of rows."""
    fill = -len(examples) % ranks
    rows = [*examples, *[examples[-1]] * fill]
    lengths = torch.tensor([len(row.token_ids) for row in rows])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    loss_mask = _padded([row.carries_loss for row in rows], torch.bool)
    loss_mask[len(examples) :] = False
    weights = torch.tensor([row.weight for row in rows])[:, None] * loss_mask
    scale = loss_mask.sum() / weights.sum()
    prompts = [row.prompt_ids for row in rows]
    groups = [0] * len(rows)
    for index in range(1, len(rows)):
        groups[index] = groups[index - 1] + (prompts[index] != prompts[index - 1])
    return Batch(
        input_ids=_padded([row.prompt_ids + row.token_ids for row in rows], torch.int64),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        mask=mask,
        loss_mask=loss_mask,
        behavior_logprobs=torch.zeros(mask.shape),
        rewards=torch.zeros(len(rows), dtype=torch.float64),
        group_ids=torch.tensor(groups),
        advantages=weights * scale,
    )


def _padded(rows: Sequence[Sequence[int]], dtype: torch.dtype) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=dtype) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)

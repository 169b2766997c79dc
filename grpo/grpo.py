"""GRPO (DeepSeekMath, arXiv 2402.03300) from scored groups to the loss of each token, in the order of a training step.

    advantages = group_advantages(groups, ...)    # compare each reward with those of its group
    batch = make_batch(groups, advantages)        # rollouts as padded tensors
    logprobs, entropy = completion_logprobs(...)  # forward pass of the policy
    loss = (token_weights(...) * token_losses(...)).sum()

The rest of the family is in grpo/advantages.py and grpo/losses.py; the default recipe needs neither. Shapes: B
completions, T tokens of the longest completion, L of the longest prompt + completion; column t is its t-th token.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from grpo.correction import mismatch_weights
from grpo.kl import kl_loss
from grpo.logprobs import token_logprobs
from grpo.packing import pack
from grpo.settings import AdvantageConfig, CorrectionConfig, KlConfig, LossConfig
from grpo.types import Group


@dataclass(frozen=True)
class Batch:
    """B completions as right-padded tensors."""

    input_ids: Tensor  # int64 [B, L], prompt, completion, padding
    prompt_lengths: Tensor  # int64 [B]
    mask: Tensor  # bool [B, T], true on completion tokens
    loss_mask: Tensor  # bool [B, T], true on the tokens that carry loss
    behavior_logprobs: Tensor  # float32 [B, T], recorded by the sampler
    rewards: Tensor  # float64 [B]
    group_ids: Tensor  # int64 [B], index of the completion's group
    advantages: Tensor  # float32 [B, T], 0 outside the mask
    # Log-probabilities that must exist before the update, float32 [B, T]; None if the loss does not need them.
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    @property
    def num_tokens(self) -> int:
        return int(self.mask.sum())  # completion tokens

    @property
    def lengths(self) -> Tensor:
        return self.prompt_lengths + self.mask.sum(dim=1)  # prompt plus completion, int64 [B]

    def rows(self, index: Tensor) -> "Batch":
        """The rows at `index`, cut to the longest of them."""
        width, columns = int(self.lengths[index].max()), int(self.mask[index].sum(dim=1).max())
        chosen = {f.name: t[index] for f in fields(self) if (t := getattr(self, f.name)) is not None}
        for name, tensor in chosen.items():
            if tensor.dim() == 2:
                chosen[name] = tensor[:, : width if name == "input_ids" else columns]
        return replace(self, **chosen)

    def to(self, device: torch.device) -> "Batch":
        moved = {f.name: t.to(device) for f in fields(self) if (t := getattr(self, f.name)) is not None}
        return replace(self, **moved)


def group_advantages(groups: Sequence[Group], cfg: AdvantageConfig, component_weights: Mapping[str, float]) -> Tensor:
    """One advantage per completion, float64 [B], from the rewards of its group (see `normalize`)."""
    return normalize([torch.tensor(group.rewards, dtype=torch.float64) for group in groups], cfg)


def normalize(rewards: Sequence[Tensor], cfg: AdvantageConfig) -> Tensor:
    """A_i = (r_i - baseline_i) / (scale_i + epsilon), float64 [B], from the rewards of each group.

    baseline  "group_mean": DeepSeekMath (arXiv 2402.03300), section 4.1.2
              "leave_one_out": the mean of the other rewards of the group, RLOO (arXiv 2402.14740), equation 8,
              which equals G / (G - 1) times the distance from the group mean
              "batch_mean": the mean over all rollouts of the step, REINFORCE++ (arXiv 2501.03262)
    scale     "group_std": the population standard deviation of the group's rewards, DeepSeekMath
              "batch_std": the root mean square of all centered rewards, REINFORCE++
              "none": 1 without epsilon, as in Dr. GRPO (arXiv 2503.20783) and RLOO

    Raises ValueError for a group of one, which has nothing to compare its reward with.
    """
    if (smallest := min(map(len, rewards))) < 2:
        raise ValueError(f"group size must be >= 2, got {smallest}")
    if cfg.baseline == "batch_mean":
        centered = list(center(torch.cat(list(rewards))).split([len(row) for row in rewards]))
    else:
        centered = [center(row) for row in rewards]
    if cfg.baseline == "leave_one_out":
        centered = [row * len(row) / (len(row) - 1) for row in centered]
    if cfg.scale == "group_std":
        centered = [row / (r.std(correction=0) + cfg.epsilon) for row, r in zip(centered, rewards, strict=True)]
    elif cfg.scale == "batch_std":
        spread = root_mean_square(torch.cat(centered))
        centered = [row / (spread + cfg.epsilon) for row in centered]
    return torch.cat(centered)


def center(rewards: Tensor) -> Tensor:
    """Subtract the mean. Equal rewards give exact zeros, whatever the rounding of their mean."""
    return torch.zeros_like(rewards) if rewards.min() == rewards.max() else rewards - rewards.mean()


def root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def make_batch(groups: Sequence[Group], advantages: Tensor, mask_truncated: bool = False) -> Batch:
    """Stack the rollouts of all groups, in order; `advantages` are [B]. With `mask_truncated`, truncated completions
    carry no loss (overlong filtering, DAPO, arXiv 2503.14476, section 3.4)."""
    completions = [rollout.completion for group in groups for rollout in group.rollouts]
    lengths = torch.tensor([len(c.token_ids) for c in completions])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    carries_loss = torch.tensor([not (mask_truncated and c.truncated) for c in completions])
    behavior = [torch.tensor(c.behavior_logprobs, dtype=torch.float32) for c in completions]
    ids = [torch.tensor(c.prompt_ids + c.token_ids) for c in completions]
    return Batch(
        input_ids=pad_sequence(ids, batch_first=True),
        prompt_lengths=torch.tensor([len(c.prompt_ids) for c in completions]),
        mask=mask,
        loss_mask=mask & carries_loss[:, None],
        behavior_logprobs=pad_sequence(behavior, batch_first=True),
        rewards=torch.tensor([reward for group in groups for reward in group.rewards], dtype=torch.float64),
        group_ids=torch.tensor([index for index, group in enumerate(groups) for _ in group.rollouts]),
        advantages=(advantages[:, None] * mask).float(),
    )


def minibatches(batch: Batch, count: int) -> Iterator[Batch]:
    """Split into `count` equal parts, one update each. Rows are dealt in turn: if count <= G, each has every group."""
    assert len(batch) % count == 0
    for part in range(count):
        yield batch.rows(torch.arange(part, len(batch), count))


def microbatches(batch: Batch, max_tokens: int, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Batch]]:
    """Yield (row index, part) with at most `max_tokens` distinct tokens per part: completions of a group share their
    prompt if they are in the same part. A longer row is a part of its own.

    With several `ranks` each gets its share of the parts, all equally many, because they gather the model's layers
    together; B must be a multiple of `ranks`.
    """
    assert len(batch) % ranks == 0
    parts, tokens = list[list[int]](), 0
    lengths, prompts, groups = batch.lengths.tolist(), batch.prompt_lengths.tolist(), batch.group_ids.tolist()
    for row in range(len(batch)):
        is_shared = row > 0 and groups[row] == groups[row - 1]
        tokens += lengths[row] - is_shared * prompts[row]
        if row == 0 or tokens > max_tokens:
            parts.append([])
            tokens = lengths[row]
        parts[-1].append(row)
    while len(parts) % ranks:
        largest = max(range(len(parts)), key=lambda index: len(parts[index]))
        half = len(parts[largest]) // 2
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    for part in parts[rank::ranks]:
        index = torch.tensor(part)
        yield index, batch.rows(index)


class CausalLM(Protocol):
    """What is used of a transformers model."""

    def get_decoder(self) -> torch.nn.Module: ...

    def get_output_embeddings(self) -> torch.nn.Module: ...


def completion_logprobs(
    model: CausalLM, batch: Batch, temperature: float, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (in nats) of each completion token, [B, T] each, 0 outside the mask. Logits are
    divided by `temperature`, that of the sampler. The entropy has a gradient only with `entropy_gradient`.

    This is the only function that shifts by one token. The decoder computes each distinct token once (`pack`).
    """
    packed = pack(batch)
    hidden = model.get_decoder()(
        input_ids=packed.input_ids, position_ids=packed.position_ids, use_cache=False, sequences=packed.sequences
    ).last_hidden_state[0]
    rows, columns = batch.mask.nonzero(as_tuple=True)
    # The token before the first one of a completion is the last one of its prompt.
    before = torch.where(columns == 0, packed.prompt_ends[rows], packed.starts[rows] + columns - 1)
    targets = batch.input_ids[rows, batch.prompt_lengths[rows] + columns]
    # Unlike that of `hidden[before]`, this backward pass adds up in the same order every time.
    states = torch.nn.functional.embedding(before, hidden)
    flat = token_logprobs(states, model.get_output_embeddings(), targets, temperature, entropy_gradient)
    logprobs, entropy = (values.new_zeros(batch.mask.shape).index_put((rows, columns), values) for values in flat)
    return logprobs, entropy


@dataclass(frozen=True)
class PolicyTerms:
    """The policy's loss per token, with gradient; the ratio and where it was clipped, without. All [B, T]."""

    loss: Tensor
    policy_ratio: Tensor
    clipped_low: Tensor
    clipped_high: Tensor


# Of logprobs, old_logprobs, advantages and mask.
PolicyLoss = Callable[[Tensor, Tensor, Tensor, Tensor, LossConfig], PolicyTerms]


def ppo_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cfg: LossConfig) -> PolicyTerms:
    """DeepSeekMath (arXiv 2402.03300), equation 3, without the KL:

        loss = -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A),   ratio = exp(logprobs - old_logprobs)

    A `clip_high` that differs from `clip_low` is DAPO's (arXiv 2503.14476, equation 10); GRPO uses 0.2 for both.
    With `dual_clip` c, where A < 0: loss = min(loss, -c A) (dual clip, arXiv 1912.09729).
    """
    ratio = torch.exp(logprobs - old_logprobs)
    return clipped_loss(ratio, advantages, 1 - cfg.clip_low, 1 + cfg.clip_high, cfg.dual_clip)


def clipped_loss(
    ratio: Tensor, advantages: Tensor, low: float, high: float, dual_clip: float | None = None
) -> PolicyTerms:
    """The clipped surrogate of PPO for any ratio [B, T]."""
    loss = -torch.minimum(ratio * advantages, ratio.clamp(low, high) * advantages)
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    clipped_low, clipped_high = (ratio < low) & (advantages < 0), (ratio > high) & (advantages > 0)
    return PolicyTerms(loss, ratio.detach(), clipped_low, clipped_high)


def token_losses(
    policy_loss: PolicyLoss,
    batch: Batch,
    logprobs: Tensor,
    entropy: Tensor,
    loss: LossConfig,
    kl: KlConfig,
    correction: CorrectionConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss of each token [B, T], with gradient:

        correction * policy loss + kl.coef * KL (if the KL is in the loss) - entropy_coef * entropy

    and the terms to report, without gradient. If a step makes a single update, the old log-probabilities are the
    current ones, detached: the ratio is 1, and so is the KL's weight.
    """
    old_logprobs = logprobs.detach() if batch.old_logprobs is None else batch.old_logprobs
    terms = policy_loss(logprobs, old_logprobs, batch.advantages, batch.mask, loss)
    weights = mismatch_weights(old_logprobs, batch.behavior_logprobs, batch.mask, correction)
    total = weights * terms.loss - loss.entropy_coef * entropy
    distance = torch.zeros_like(logprobs)
    if batch.ref_logprobs is not None:
        distance = kl_loss(logprobs, old_logprobs, batch.ref_logprobs, kl)
        if kl.apply_to == "loss":
            total = total + kl.coef * distance
    reported = {"entropy": entropy, "kl": distance, "policy_ratio": terms.policy_ratio, "correction": weights}
    reported |= {"clip_low": terms.clipped_low, "clip_high": terms.clipped_high}
    return total, {name: values.detach() for name, values in reported.items()}


def token_weights(loss_mask: Tensor, aggregation: str, max_tokens: int) -> Tensor:
    """Weights [B, T] such that the loss is (weights * per-token loss).sum().

    They are computed over the whole batch before it is split, so any number of micro-batches and ranks adds up to
    the same loss. loss_mask is bool, true on the tokens that carry loss.
      "token"     every token counts the same (DAPO, arXiv 2503.14476, equation 8)
      "sequence"  every completion with loss tokens counts the same (DeepSeekMath, arXiv 2402.03300, equation 3)
      "constant"  every token counts the same in every batch, 1 / (B * max_tokens), so that no length is favored
                  (Dr. GRPO, arXiv 2503.20783, section 3.1)
    """
    if aggregation == "token":
        return loss_mask.float() / loss_mask.sum().clamp(min=1)
    if aggregation == "constant":
        return loss_mask.float() / (loss_mask.shape[0] * max_tokens)
    lengths = loss_mask.sum(dim=1, keepdim=True)
    return loss_mask.float() / lengths.clamp(min=1) / (lengths > 0).sum().clamp(min=1)

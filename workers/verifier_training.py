"""Training of a learned verifier on completions that are known to be correct or wrong."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from conf.verifiers import VerifierConfig
from grpo.types import Group
from workers.interrupt import Interrupt
from workers.outcome_verifier import OutcomeVerifier, outcome_loss, rows_within

MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class GradedCompletion:
    """A completion as token ids, and whether it is correct."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    right: bool


@dataclass(frozen=True)
class EpochLosses:
    """Mean losses per completion token, in nats: during the epoch, and on the validation problems after it."""

    training_loss: float
    validation_loss: float


def split_by_problem(groups: Sequence[Group], held_back: float) -> tuple[list[Group], list[Group]]:
    """Split into (training, validation) groups, so that no problem is in both parts.

    The last fraction `held_back` of the groups is used for validation; each part has at least one group.
    """
    assert len({group.problem.key for group in groups}) == len(groups) >= 2
    size = min(max(1, round(held_back * len(groups))), len(groups) - 1)
    return list(groups[:-size]), list(groups[-size:])


def graded_completions(groups: Sequence[Group]) -> list[GradedCompletion]:
    """Return all completions except those whose grader failed, whose correctness is unknown."""
    rollouts = [rollout for group in groups for rollout in group.rollouts if rollout.score.error is None]
    return [GradedCompletion(r.completion.prompt_ids, r.completion.token_ids, r.score.correct) for r in rollouts]


def train(
    verifier: OutcomeVerifier,
    training: Sequence[GradedCompletion],
    validation: Sequence[GradedCompletion],
    cfg: VerifierConfig,
    seed: int,
    on_epoch: Callable[[EpochLosses], None],
    interrupt: Interrupt,
) -> list[EpochLosses]:
    """Train for up to `num_epochs` epochs, and restore the weights of the epoch with the lowest validation loss.

    on_epoch  called after each epoch

    Raises:
        Interrupted: the user asked to stop.
    """
    batches = _batches(training, cfg.batch_tokens)
    optimizer = _optimizer(verifier, cfg)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, cfg.num_epochs * len(batches))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    epochs: list[EpochLosses] = []
    best = verifier.state()
    for number in range(cfg.num_epochs):
        total = tokens = 0.0
        for batch in random.Random(f"{seed}/{number}").sample(batches, len(batches)):
            interrupt.check()
            loss, count = _loss(verifier, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM, error_if_nonfinite=True)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total, tokens = total + loss.item() * count, tokens + count
        epochs.append(EpochLosses(total / tokens, mean_loss(verifier, validation, cfg.batch_tokens)))
        on_epoch(epochs[-1])
        lowest = min(range(len(epochs)), key=lambda index: epochs[index].validation_loss)
        if lowest == number:
            best = verifier.state()
        elif number - lowest >= cfg.patience:
            break
    verifier.set_state(best)
    return epochs


@torch.no_grad()
def mean_loss(verifier: OutcomeVerifier, completions: Sequence[GradedCompletion], max_tokens: int) -> float:
    """Return the mean loss per completion token, in nats, computed in batches of at most `max_tokens` tokens."""
    losses = [_loss(verifier, batch) for batch in _batches(completions, max_tokens)]
    return sum(loss.item() * count for loss, count in losses) / sum(count for _, count in losses)


def _loss(verifier: OutcomeVerifier, batch: Sequence[GradedCompletion]) -> tuple[torch.Tensor, int]:
    """Return the loss of a batch and its number of completion tokens."""
    logits, is_completion = verifier.logits([one.prompt_ids for one in batch], [one.token_ids for one in batch])
    right = torch.tensor([float(one.right) for one in batch], device=logits.device)
    return outcome_loss(logits, is_completion, right), int(is_completion.sum())


def _batches(completions: Sequence[GradedCompletion], max_tokens: int) -> list[list[GradedCompletion]]:
    """Group completions of similar length into batches of at most `max_tokens` tokens, padding included."""
    lengths = torch.tensor([len(one.prompt_ids) + len(one.token_ids) for one in completions])
    return [[completions[row] for row in index.tolist()] for index in rows_within(lengths, max_tokens)]


def _optimizer(verifier: OutcomeVerifier, cfg: VerifierConfig) -> torch.optim.Optimizer:
    groups = [{"params": list(verifier.head.parameters()), "lr": cfg.head_lr}]
    if verifier.trains_backbone:
        groups.append({"params": list(verifier.backbone.parameters()), "lr": cfg.lr})
    return torch.optim.AdamW(groups, weight_decay=0.01)

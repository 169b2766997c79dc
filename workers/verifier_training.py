"""Training the value head, and with it the model below, on completions that are known to be right or wrong."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from conf.verifiers import VerifierConfig
from grpo.batching import rows_within
from grpo.types import Group
from workers.interrupt import Interrupt
from workers.outcome_verifier import OutcomeVerifier, outcome_loss

MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Attempt:
    """A completion as token ids, and whether it is right."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    right: bool


@dataclass(frozen=True)
class Epoch:
    """Mean losses a completion token, in nats: over the epoch, and on the validation problems after it."""

    training_loss: float
    validation_loss: float


def split_by_problem(groups: Sequence[Group], held_back: float) -> tuple[list[Group], list[Group]]:
    """(to train on, to validate on): the last `held_back` of the groups, so that no problem is in both parts;
    each part has one at least."""
    assert len({group.problem.key for group in groups}) == len(groups) >= 2
    kept = min(max(1, round(held_back * len(groups))), len(groups) - 1)
    return list(groups[:-kept]), list(groups[-kept:])


def attempts_of(groups: Sequence[Group]) -> list[Attempt]:
    """All completions but those whose grader failed: what they are is not known."""
    rollouts = [rollout for group in groups for rollout in group.rollouts if rollout.score.error is None]
    return [Attempt(r.completion.prompt_ids, r.completion.token_ids, r.score.correct) for r in rollouts]


def train(
    verifier: OutcomeVerifier,
    training: Sequence[Attempt],
    validation: Sequence[Attempt],
    cfg: VerifierConfig,
    seed: int,
    tell: Callable[[Epoch], None],
    interrupt: Interrupt,
) -> list[Epoch]:
    """Up to `num_epochs` passes. The verifier is left as it was after the epoch with the lowest validation loss.

    Raises:
        Interrupted: the user asked to stop.
    """
    parts = _parts(training, cfg.batch_tokens)
    optimizer = _optimizer(verifier, cfg)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, cfg.num_epochs * len(parts))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    epochs: list[Epoch] = []
    best = verifier.state()
    for number in range(cfg.num_epochs):
        total = tokens = 0.0
        for part in random.Random(f"{seed}/{number}").sample(parts, len(parts)):
            interrupt.check()
            loss, count = _loss(verifier, part)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM, error_if_nonfinite=True)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total, tokens = total + loss.item() * count, tokens + count
        epochs.append(Epoch(total / tokens, mean_loss(verifier, validation, cfg.batch_tokens)))
        tell(epochs[-1])
        lowest = min(range(len(epochs)), key=lambda place: epochs[place].validation_loss)
        if lowest == number:
            best = verifier.state()
        elif number - lowest >= cfg.patience:
            break
    verifier.set_state(best)
    return epochs


@torch.no_grad()
def mean_loss(verifier: OutcomeVerifier, attempts: Sequence[Attempt], max_tokens: int) -> float:
    """The loss of all completion tokens, in nats a token."""
    losses = [_loss(verifier, part) for part in _parts(attempts, max_tokens)]
    return sum(loss.item() * count for loss, count in losses) / sum(count for _, count in losses)


def _loss(verifier: OutcomeVerifier, part: Sequence[Attempt]) -> tuple[torch.Tensor, int]:
    """The loss of a part and its completion tokens."""
    logits, is_completion = verifier.logits([one.prompt_ids for one in part], [one.token_ids for one in part])
    right = torch.tensor([float(one.right) for one in part], device=logits.device)
    return outcome_loss(logits, is_completion, right), int(is_completion.sum())


def _parts(attempts: Sequence[Attempt], max_tokens: int) -> list[list[Attempt]]:
    """Completions of similar length together, at most `max_tokens` a part, padding included."""
    lengths = torch.tensor([len(one.prompt_ids) + len(one.token_ids) for one in attempts])
    return [[attempts[place] for place in index.tolist()] for index in rows_within(lengths, max_tokens)]


def _optimizer(verifier: OutcomeVerifier, cfg: VerifierConfig) -> torch.optim.Optimizer:
    groups = [{"params": list(verifier.head.parameters()), "lr": cfg.head_lr}]
    if verifier.trains_backbone:
        groups.append({"params": list(verifier.backbone.parameters()), "lr": cfg.lr})
    return torch.optim.AdamW(groups, weight_decay=0.01)

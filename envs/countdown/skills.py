"""The skills of a model on countdown, counted over completions: what the tiny base must show."""

from collections.abc import Sequence
from dataclasses import dataclass

from envs.countdown.trace import Try, read_tries
from grpo.types import Group
from rewards.tags import read_tags


@dataclass(frozen=True)
class Skills:
    """Shares in 0..1, tries a completion and tokens a completion.

    copying     of tries: uses the given numbers, each once
    arithmetic  of tries: every equation is true
    said_hit    of tries that hit the target: are called a hit
    false_hit   of tries that miss it: are called a hit
    format      of completions: tags complete and in order
    accuracy    of completions: exactly correct
    """

    completions: int
    tries: float
    tokens: float
    copying: float
    arithmetic: float
    said_hit: float
    false_hit: float
    format: float
    accuracy: float


def measure_skills(groups: Sequence[Group]) -> Skills:
    """Count over all rollouts of `groups` (countdown problems)."""
    tries: list[tuple[Try, bool]] = []
    ordered, correct, tokens, completions = 0, 0, 0, 0
    for group in groups:
        numbers, target = group.problem.fields["numbers"], group.problem.fields["target"]
        for rollout in group.rollouts:
            text = rollout.completion.text
            tries += [(attempt, attempt.hits(target)) for attempt in read_tries(text, numbers)]
            ordered += read_tags(text).ordered
            correct += rollout.score.correct
            tokens += len(rollout.completion.token_ids)
            completions += 1
    hits = [attempt for attempt, hit in tries if hit]
    misses = [attempt for attempt, hit in tries if not hit]
    return Skills(
        completions=completions,
        tries=len(tries) / completions,
        tokens=tokens / completions,
        copying=share([attempt.copied for attempt, _ in tries]),
        arithmetic=share([attempt.arithmetic for attempt, _ in tries]),
        said_hit=share([attempt.verdict == "yes" for attempt in hits]),
        false_hit=share([attempt.verdict == "yes" for attempt in misses]),
        format=ordered / completions,
        accuracy=correct / completions,
    )


def share(values: Sequence[bool]) -> float:
    """The share of true values; 0 where there are none."""
    return sum(values) / len(values) if values else 0.0

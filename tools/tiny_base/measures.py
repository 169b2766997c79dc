"""The skills of a tiny base model, counted over sampled completions."""

from collections.abc import Sequence
from dataclasses import dataclass

from envs.countdown import trace as countdown
from envs.equations import end_of_thought
from envs.multiplication import trace as multiplication
from grpo.types import Group
from rewards.scripts import mixes_scripts
from rewards.tags import read_tags
from run.metrics import share


@dataclass(frozen=True)
class CountdownSkills:
    """Shares in 0..1; attempts and tokens per completion.

    copying     of attempts: uses each given number once
    arithmetic  of attempts: every equation is true
    said_hit    of attempts that reach the target: are judged "yes"
    false_hit   of attempts that miss the target: are judged "yes"
    single      of completions: exactly one attempt
    mixed       of completions: words in two scripts
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
    single: float
    mixed: float
    format: float
    accuracy: float


@dataclass(frozen=True)
class MultiplicationSkills:
    """Shares in 0..1; trace lines and tokens per completion.

    equations  of equations: are true
    copying    of trace lines: computes a part that was still missing and adds it to the total so far
    stopping   of completions with all parts: stops there and answers with the last total
    finished   of completions: computes all parts
    format     of completions: tags complete and in order
    accuracy   of completions: exactly correct
    """

    completions: int
    lines: float
    tokens: float
    equations: float
    copying: float
    stopping: float
    finished: float
    format: float
    accuracy: float


def measure_countdown(groups: Sequence[Group]) -> CountdownSkills:
    """Measure all rollouts of these countdown problems."""
    rollouts = [(group.problem.fields, rollout) for group in groups for rollout in group.rollouts]
    thoughts = [rollout.completion.text[: end_of_thought(rollout.completion.text)] for _, rollout in rollouts]
    traces = [
        countdown.read_trace(thought, fields["numbers"], fields["target"])
        for thought, (fields, _) in zip(thoughts, rollouts)
    ]
    attempts = [
        (attempt, attempt.hits(fields["target"]))
        for trace, (fields, _) in zip(traces, rollouts)
        for attempt in trace.attempts
    ]
    return CountdownSkills(
        completions=len(rollouts),
        tries=len(attempts) / len(rollouts),
        tokens=sum(len(rollout.completion.token_ids) for _, rollout in rollouts) / len(rollouts),
        copying=share([attempt.copied for attempt, _ in attempts]),
        arithmetic=share([attempt.arithmetic for attempt, _ in attempts]),
        said_hit=share([attempt.last_verdict == "yes" for attempt, hits in attempts if hits]),
        false_hit=share([attempt.last_verdict == "yes" for attempt, hits in attempts if not hits]),
        single=share([len(trace.attempts) == 1 for trace in traces]),
        mixed=share([mixes_scripts(thought) for thought in thoughts]),
        format=share([read_tags(rollout.completion.text).ordered for _, rollout in rollouts]),
        accuracy=share([rollout.score.correct for _, rollout in rollouts]),
    )


def measure_multiplication(groups: Sequence[Group]) -> MultiplicationSkills:
    """Measure all rollouts of these multiplication problems."""
    rollouts = [(group.problem.fields, rollout) for group in groups for rollout in group.rollouts]
    traces = [
        multiplication.read_trace(rollout.completion.text, fields["a"], fields["b"]) for fields, rollout in rollouts
    ]
    parts = [read_tags(rollout.completion.text) for _, rollout in rollouts]
    lines = [line for trace in traces for line in trace.lines]
    return MultiplicationSkills(
        completions=len(rollouts),
        lines=len(lines) / len(rollouts),
        tokens=sum(len(rollout.completion.token_ids) for _, rollout in rollouts) / len(rollouts),
        equations=share([multiplication.is_true(equation) for line in lines for equation in line.equations]),
        copying=share([line.copied for line in lines]),
        stopping=share([part.answer == str(trace.total) for trace, part in zip(traces, parts) if trace.finished]),
        finished=share([trace.finished for trace in traces]),
        format=share([part.ordered for part in parts]),
        accuracy=share([rollout.score.correct for _, rollout in rollouts]),
    )

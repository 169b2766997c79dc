"""The measures that claims compare.

A measure of completions maps problems to values whose mean over the problems is the measure, so that every measure can
be compared problem by problem. Measures of a stage read more than its completions; one without problems has the single
key "".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from envs.countdown.trace import read_trace
from inference.difficulty import ProblemResult, compute_optimal, difficulty_levels
from inference.statistics import majority_at_k, pass_at_k
from pipelines.graph import road_to
from rewards.scripts import mixes_scripts, share_in
from rewards.tags import read_tags
from tools.reproduce.outputs import Sample, SeedRun, Solved

Values = dict[str, float]  # by problem key


class Unit(StrEnum):
    """How values are shown: a share in percent and a difference of shares in points; a ratio is a logarithm, shown as a
    factor, and its values in `Measure.of`."""

    SHARE = "share"
    COUNT = "count"
    RATIO = "ratio"


def accuracy(solved: Sequence[Solved]) -> Values:
    """Share of correct completions."""
    return {each.problem.key: _mean([sample.correct for sample in each.samples]) for each in solved}


def chosen(solved: Sequence[Solved]) -> Values:
    """Whether the answer that the decoding strategy chose is correct."""
    return {each.problem.key: float(each.correct) for each in solved}


def majority(solved: Sequence[Solved], k: int) -> Values:
    """Expected accuracy of a majority vote over k completions."""
    return {
        each.problem.key: majority_at_k(
            [sample.answer for sample in each.samples],
            {sample.answer for sample in each.samples if sample.correct and sample.answer is not None},
            k,
        )
        for each in solved
    }


def best_of(solved: Sequence[Solved], k: int) -> Values:
    """Expected accuracy of the one of k completions of which the model is most certain: the highest mean
    log-probability of a token.

    It is the mean over all choices of k of the n completions: C(i, k - 1) of them have as their most certain one the
    completion that is more certain than i others.

    Raises:
        ValueError: a problem has fewer completions.
    """
    if fewer := [each for each in solved if len(each.samples) < k]:
        raise ValueError(f"k must be at most {len(fewer[0].samples)}, the number of completions, got {k}")
    values = {}
    for each in solved:
        by_certainty = sorted(each.samples, key=lambda sample: sample.certainty)
        right = sum(math.comb(i, k - 1) for i, sample in enumerate(by_certainty) if sample.correct)
        values[each.problem.key] = right / math.comb(len(by_certainty), k)
    return values


def pass_at(solved: Sequence[Solved], k: int) -> Values:
    """Probability that one of k completions is correct."""
    return {
        each.problem.key: pass_at_k(len(each.samples), sum(sample.correct for sample in each.samples), k)
        for each in solved
    }


def length(solved: Sequence[Solved]) -> Values:
    """Tokens of a completion."""
    return {each.problem.key: _mean([sample.tokens for sample in each.samples]) for each in solved}


def behavior(solved: Sequence[Solved], name: str) -> Values:
    """Share of completions that show a reasoning behaviour; its names are in envs/behaviors.py."""
    return _of_texts(solved, lambda each, text: float(getattr(each.env.read_behaviors(each.problem, text), name)))


def tries(solved: Sequence[Solved]) -> Values:
    """Attempts per completion, of a task with a trace language."""
    return _of_texts(solved, lambda each, text: float(each.env.read_behaviors(each.problem, text).tries or 0))


def mixed_scripts(solved: Sequence[Solved]) -> Values:
    """Share of completions whose thought has words in two scripts."""
    return _of_texts(solved, lambda each, text: float(mixes_scripts(read_tags(text).thought)))


def target_words(solved: Sequence[Solved], language: str) -> Values:
    """Share of a thought's words that are in the script of a language; 0 for a thought without words."""
    return _of_texts(solved, lambda each, text: share_in(language, read_tags(text).thought))


def abandoned(solved: Sequence[Solved]) -> Values:
    """Share of countdown completions in which an attempt reaches the target although the answer is wrong or missing."""

    def is_abandoned(each: Solved, sample: Sample) -> bool:
        fields = each.problem.fields
        trace = read_trace(read_tags(sample.text).thought, fields["numbers"], fields["target"])
        return not sample.correct and any(attempt.hits(fields["target"]) for attempt in trace.attempts)

    return {each.problem.key: _mean([is_abandoned(each, sample) for sample in each.samples]) for each in solved}


def shorter_advantage(solved: Sequence[Solved], truncated: bool = False) -> Values:
    """Accuracy of the shorter half of a problem's completions minus that of the longer half. Problems with fewer than
    two completions are left out; of an odd number the middle one is left out.

    truncated  whether completions count that the token limit cut
    """
    values = {}
    for each in solved:
        counted = [sample for sample in each.samples if truncated or not sample.truncated]
        by_length = sorted(counted, key=lambda sample: sample.tokens)
        half = len(by_length) // 2
        if half:
            shorter, longer = by_length[:half], by_length[-half:]
            values[each.problem.key] = _mean([s.correct for s in shorter]) - _mean([s.correct for s in longer])
    return values


def tokens_per_correct(solved: Sequence[Solved]) -> Values:
    """Logarithm of the tokens that are spent for each correct completion: ln(T / C) for T tokens and C correct ones.

    The value of a problem is ln(T / C) + t / mean(t) - c / mean(c), its linear part in the ratio (the delta method), so
    that the mean of the values is ln(T / C).

    Raises:
        ValueError: no completion is correct.
    """
    spent, right = length(solved), accuracy(solved)
    mean_spent, mean_right = _mean(list(spent.values())), _mean(list(right.values()))
    if not mean_right:
        raise ValueError("tokens_per_correct needs a correct completion, got none")
    whole = math.log(mean_spent / mean_right)
    return {key: whole + spent[key] / mean_spent - right[key] / mean_right for key in spent}


def greedy(run: SeedRun, stage: str, at: str = "end") -> Values:
    """Share of correct completions by greedy decoding, in a trained stage's own evaluation after training, or before.

    at  "end" or "start" of training
    """
    return {row["key"]: float(row["correct"]) for row in run.evaluated(stage, "eval_greedy", first=at == "start")}


def choice_gain(run: SeedRun, stage: str, beam: str, difficulty: str, k: int) -> Values:
    """Accuracy of a strategy for each level of difficulty minus that of one strategy for all, both within the tokens of
    k samples (arXiv 2408.03314). Both are chosen on one half of the problems and measured on the other.

    A strategy costs its mean tokens over all problems, whatever the level. Otherwise difficult levels, whose
    completions are longer, could not afford k samples. The tokens are a limit for each level: what is left of them at
    one level is not spent at another.

    stage       an evaluation with independent samples: votes and best-of-n over them are strategies
    beam        an evaluation by beam search, whose problems count
    difficulty  an evaluation of another model, which ranks the problems
    """
    by_beam = run.solved(beam)
    beam_cost = _mean([each.tokens for each in by_beam])
    searched = {each.problem.key: ProblemResult(float(each.correct), beam_cost) for each in by_beam}
    solved = [each for each in run.solved(stage) if each.problem.key in searched]
    cost = _mean(list(length(solved).values()))
    strategies = {"beam": searched}
    size = 1
    while size <= min(len(each.samples) for each in solved):
        for name, measure in (("majority", majority), ("best of", best_of)):
            right = measure(solved, size)
            strategies[f"{name} {size}"] = {key: ProblemResult(value, size * cost) for key, value in right.items()}
        size *= 2
    ease = accuracy([each for each in run.solved(difficulty) if each.problem.key in searched])
    budget = k * cost * (1 + 1e-9)  # a mean of equal costs may be off in its last digit
    by_level, for_all = (
        compute_optimal(strategies, levels, [budget])[0].results
        for levels in (difficulty_levels(ease), dict.fromkeys(ease, 1))
    )
    return {key: by_level[key].correct - for_all[key].correct for key in ease}


def hours_to_accuracy(run: SeedRun, stage: str, accuracy: float, given: Sequence[str] = ()) -> Values:
    """Logarithm of the hours until a trained stage has this held-out accuracy at one of its evaluations, the stages
    that its weights come from included; if it does not reach it, of all hours (see `reaches`).

    given  stages whose hours do not count, nor those of the stages that they come from
    """
    free = {stage}.union(*(road_to(run.stages, name) for name in given))
    before = [name for name in run.stages if name in road_to(run.stages, stage) - free]
    reached = [hours for hours, found in run.accuracy_by_hours(stage) if found >= accuracy]
    return {"": math.log(sum(map(run.hours, before)) + (reached[0] if reached else run.hours(stage)))}


def reaches(run: SeedRun, stage: str, accuracy: float, given: Sequence[str] = ()) -> bool:
    """Whether a trained stage has this held-out accuracy at one of its evaluations."""
    return any(found >= accuracy for _, found in run.accuracy_by_hours(stage))


@dataclass(frozen=True)
class Measure:
    """A measure as the page explains it.

    words          what it is
    unit           of its values and of their differences
    of             what is counted, or what a ratio is the logarithm of
    of_completions if it reads the completions of a stage alone
    of_stage       otherwise
    is_difference  its values are differences already
    """

    words: str
    unit: Unit
    of_completions: Callable[..., Values] | None = None
    of_stage: Callable[..., Values] | None = None
    of: str = ""
    is_difference: bool = False


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("share of correct completions", Unit.SHARE, accuracy),
    "greedy": Measure("share of correct completions by greedy decoding", Unit.SHARE, of_stage=greedy),
    "chosen": Measure("share of correct answers of the strategy", Unit.SHARE, chosen),
    "majority": Measure("accuracy of a majority vote", Unit.SHARE, majority),
    "best_of": Measure("accuracy of the completion with the highest log-probability", Unit.SHARE, best_of),
    "pass_at": Measure("share of problems that one of k completions solves", Unit.SHARE, pass_at),
    "length": Measure("tokens per completion", Unit.COUNT, length, of="tokens"),
    "behavior": Measure("share of completions that show a behaviour", Unit.SHARE, behavior),
    "tries": Measure("attempts per completion", Unit.COUNT, tries, of="attempts"),
    "mixed_scripts": Measure("share of completions that mix scripts", Unit.SHARE, mixed_scripts),
    "target_words": Measure("share of words in the target language", Unit.SHARE, target_words),
    "abandoned": Measure("share of completions that abandon a right candidate", Unit.SHARE, abandoned),
    "shorter_advantage": Measure(
        "accuracy of shorter minus longer completions", Unit.SHARE, shorter_advantage, is_difference=True
    ),
    "tokens_per_correct": Measure("tokens for each correct answer", Unit.RATIO, tokens_per_correct, of="tokens"),
    "choice_gain": Measure(
        "gain in accuracy by choosing for each difficulty", Unit.SHARE, of_stage=choice_gain, is_difference=True
    ),
    "hours_to_accuracy": Measure("hours to an accuracy", Unit.RATIO, of_stage=hours_to_accuracy, of="hours"),
}


def _of_texts(solved: Sequence[Solved], value: Callable[[Solved, str], float]) -> Values:
    return {each.problem.key: _mean([value(each, sample.text) for sample in each.samples]) for each in solved}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

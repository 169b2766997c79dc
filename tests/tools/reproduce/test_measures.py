import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from conf.pipelines import StageConfig
from envs.countdown.corpus import tiny_countdown
from tools.reproduce.measures import (
    MEASURES,
    abandoned,
    accuracy,
    behavior,
    best_of,
    choice_gain,
    chosen,
    hours_to_accuracy,
    length,
    majority,
    mixed_scripts,
    pass_at,
    reaches,
    shorter_advantage,
    tokens_per_correct,
    tries,
)
from tools.reproduce.outputs import Sample, Solved

ENV = tiny_countdown()
PROBLEMS = {problem.key: problem for problem in ENV.eval_set(40)}
PROBLEM = PROBLEMS["2 5 13 -> 20"]
RIGHT = " 13 + 5 = 18, 18 + 2 = 20 yes\n</think> <answer> 13 + 5 + 2 </answer>"
SECOND_TRY = " 13 - 5 = 8, 8 * 2 = 16 low\n" + RIGHT
GAVE_UP = " 13 + 5 = 18, 18 + 2 = 20 low\n 13 - 5 = 8, 8 * 2 = 16 low\n</think> <answer> ( 13 - 5 ) * 2 </answer>"
WRONG = " 13 - 5 = 8, 8 * 2 = 16 low\n</think> <answer> ( 13 - 5 ) * 2 </answer>"


def sample(correct=False, text="", tokens=10, answer=None, truncated=False, certainty=0.0):
    return Sample(text, answer, correct, tokens, truncated, certainty)


def solved(*samples, problem=PROBLEM, correct=None, tokens=None):
    spent = sum(each.tokens for each in samples) if tokens is None else tokens
    return Solved(ENV, problem, samples[0].correct if correct is None else correct, spent, samples)


def only(values):
    """The value of the only problem."""
    [value] = values.values()
    return value


def test_accuracy_counts_all_completions_and_chosen_the_answer_of_the_strategy():
    one = solved(sample(False), sample(True), sample(False), sample(False), correct=True)
    assert only(accuracy([one])) == 0.25 and only(chosen([one])) == 1.0


def test_a_majority_of_three_drawn_from_four_votes():
    # Of 4 sets of 3, one lacks the wrong "b": a a a; three contain it: a a b. All give a.
    one = solved(*(sample(True, answer="a") for _ in range(3)), sample(False, answer="b"))
    assert only(majority([one], 3)) == pytest.approx(1.0) and only(majority([one], 1)) == pytest.approx(0.75)


def test_best_of_k_is_the_most_certain_of_k_on_average_over_all_choices_of_k():
    one = solved(sample(True, certainty=-0.5), sample(False, certainty=-0.2), sample(True, certainty=-0.1))
    # Of the three pairs, the one without the last completion has a wrong one as its most certain.
    assert [only(best_of([one], k)) for k in (1, 2, 3)] == pytest.approx([2 / 3, 2 / 3, 1.0])
    with pytest.raises(ValueError, match="k must be at most 3, the number of completions, got 4"):
        best_of([one], 4)


def test_pass_at_k_by_hand():
    one = solved(sample(True), sample(False), sample(False), sample(False))
    assert only(pass_at([one], 2)) == 0.5 and only(pass_at([one], 4)) == 1.0


def test_length_is_the_mean_of_the_completions():
    assert only(length([solved(sample(tokens=10), sample(tokens=30))])) == 20


def test_behaviours_and_tries_are_read_from_the_text():
    one = solved(sample(True, RIGHT), sample(True, SECOND_TRY))
    assert only(behavior([one], "backtracking")) == 0.5 and only(behavior([one], "verification")) == 1.0
    assert only(tries([one])) == 1.5


def test_mixed_scripts_are_those_of_the_thought():
    mixed = " 13 - 5 = 8, 8 * 2 = 16 low\n 13 + 5 = 18, 18 + 2 = 20 对\n</think> <answer> 13 + 5 + 2 </answer>"
    assert only(mixed_scripts([solved(sample(True, mixed), sample(True, RIGHT))])) == 0.5


def test_a_right_candidate_is_abandoned_if_the_answer_is_another_one():
    one = solved(sample(True, RIGHT), sample(False, GAVE_UP), sample(False, WRONG), sample(True, SECOND_TRY))
    assert only(abandoned([one])) == 0.25


def test_the_shorter_half_against_the_longer_half():
    one = solved(
        sample(False, tokens=50), sample(True, tokens=10), sample(False, tokens=30), sample(True, tokens=20),
        sample(False, tokens=192, truncated=True),
    )  # fmt: skip
    assert only(shorter_advantage([one])) == 1.0
    assert shorter_advantage([solved(sample(True), sample(False, truncated=True))]) == {}
    # With the truncated one: 10 and 20 (right, right) against 50 and 192 (wrong, wrong); 30 is the middle one.
    assert only(shorter_advantage([one], truncated=True)) == 1.0
    cut = solved(sample(True, tokens=10), sample(False, tokens=20), sample(False, tokens=192, truncated=True))
    assert only(shorter_advantage([cut])) == 1.0 and only(shorter_advantage([cut], truncated=True)) == 1.0
    late = solved(sample(True, tokens=10), sample(True, tokens=192, truncated=True))
    assert only(shorter_advantage([late], truncated=True)) == 0.0


def test_tokens_for_each_correct_answer():
    # 10 and 30 tokens with accuracies 1 and 1/2: 20 / 0.75 tokens for each correct completion.
    first, second = (PROBLEMS[key] for key in list(PROBLEMS)[:2])
    values = tokens_per_correct(
        [solved(sample(True, tokens=10), problem=first),
         solved(sample(True, tokens=30), sample(False, tokens=30), problem=second)]
    )  # fmt: skip
    ratio = math.log(20 / 0.75)
    assert values[first.key] == pytest.approx(ratio + 10 / 20 - 1 / 0.75)
    assert sum(values.values()) / 2 == pytest.approx(ratio)
    with pytest.raises(ValueError, match="needs a correct completion"):
        tokens_per_correct([solved(sample(False))])


def test_a_strategy_for_each_difficulty_is_worth_what_it_adds_to_one_for_all():
    # Samples solve the 8 easy problems of 40 and beam search the 32 others, within the same tokens: one strategy for
    # all solves 80%, one for each level everything.
    easy = set(list(PROBLEMS)[:8])
    by_sampling = [solved(*[sample(key in easy, answer="a")] * 4, problem=problem) for key, problem in PROBLEMS.items()]
    by_beam = [solved(sample(key not in easy), problem=PROBLEMS[key], tokens=20) for key in PROBLEMS]
    run = SimpleNamespace(solved={"samples": by_sampling, "beam": by_beam, "base": by_sampling}.get)
    gains = choice_gain(run, "samples", beam="beam", difficulty="base", k=4)
    assert sum(gains.values()) / len(gains) == pytest.approx(0.2)
    # Within the tokens of a single sample beam search is too expensive, and there is nothing to choose.
    gains = choice_gain(run, "samples", beam="beam", difficulty="base", k=1)
    assert set(gains.values()) == {0.0}


def test_where_one_strategy_is_best_everywhere_choosing_by_difficulty_gains_nothing():
    # Difficult problems, the last ones, have longer completions. The majority of 8 votes solves all problems, that of
    # fewer votes only the easy ones for certain: three votes of a difficult problem agree, the others are alone, and
    # more certain of themselves.
    keys = list(PROBLEMS)
    alone = [sample(answer=answer, certainty=1.0) for answer in "bcdef"]
    by_sampling = [
        solved(*[replace(each, tokens=10 + i) for each in [*([sample(True, answer="a")] * 5 if i < 20 else alone),
               *[sample(True, answer="a")] * 3]], problem=PROBLEMS[key])
        for i, key in enumerate(keys)
    ]  # fmt: skip
    ranks = [solved(*[sample(j < 40 - i) for j in range(40)], problem=PROBLEMS[key]) for i, key in enumerate(keys)]
    by_beam = [solved(sample(False), problem=PROBLEMS[key], tokens=20) for key in keys]
    run = SimpleNamespace(solved={"samples": by_sampling, "beam": by_beam, "base": ranks}.get)
    assert set(choice_gain(run, "samples", beam="beam", difficulty="base", k=8).values()) == {0.0}


STAGES = {
    "teacher": StageConfig("rl", "tiny"),
    "rows": StageConfig("traces", "teacher"),
    "tuned": StageConfig("sft", "tiny", {"rows": None}),
    "alone": StageConfig("rl", "tiny", overrides=["num_tokens={tuned.tokens}"]),
}


def road(curve):
    hours = {"teacher": 1.0, "rows": 0.25, "tuned": 0.5, "alone": 0.75}
    return SimpleNamespace(stages=STAGES, hours=hours.get, accuracy_by_hours=lambda stage: curve)


def test_the_hours_of_a_road_are_those_of_its_stages_until_the_accuracy():
    run = road([(0.1, 0.2), (0.2, 0.65), (0.3, 0.6), (0.4, 0.7)])
    assert only(hours_to_accuracy(run, "tuned", 0.6)) == pytest.approx(math.log(1.0 + 0.25 + 0.2))
    assert only(hours_to_accuracy(run, "tuned", 0.6, given=["teacher"])) == pytest.approx(math.log(0.25 + 0.2))
    assert reaches(run, "tuned", 0.6) and not reaches(run, "tuned", 0.8)


def test_a_number_of_another_arm_is_not_part_of_a_road():
    run = road([(0.1, 0.2), (0.3, 0.7)])
    assert only(hours_to_accuracy(run, "alone", 0.6)) == pytest.approx(math.log(0.3))
    assert only(hours_to_accuracy(run, "alone", 0.8, given=["teacher"])) == pytest.approx(math.log(0.75))


def test_a_road_that_does_not_reach_the_accuracy_costs_all_it_spent():
    assert only(hours_to_accuracy(road([(0.1, 0.2)]), "tuned", 0.6)) == pytest.approx(math.log(1.0 + 0.25 + 0.5))


def test_every_measure_reads_completions_or_a_stage():
    for measure in MEASURES.values():
        assert (measure.of_completions is None) != (measure.of_stage is None)

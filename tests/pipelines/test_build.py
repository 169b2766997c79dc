"""Journeys and their controls from the samples of four problems, worked by hand."""

from conf.traces import JourneyConfig
from envs.countdown.corpus import tiny_countdown
from pipelines.build import build, shortcuts_of, with_equal_tokens
from rewards.tags import read_tags

ENV = tiny_countdown()
TWELVE = " 8 - 4 = 4, 16 - 4 = 12 yes\n</think> <answer> 16 - ( 8 - 4 ) </answer>"
TWELVE_TOO = " 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 - 8 + 4 </answer>"
TWENTY = " 16 + 8 = 24, 24 - 4 = 20 yes\n</think> <answer> 16 + 8 - 4 </answer>"
SUM = " 16 + 8 = 24, 24 + 4 = 28 yes\n</think> <answer> 16 + 8 + 4 </answer>"
# Two problems have journeys, the third has only right attempts, and the fourth only wrong ones.
SAMPLES = {12: [SUM, TWELVE, TWELVE_TOO], 20: [SUM, TWENTY], 28: [SUM], 99: [SUM]}
PROBLEMS = [ENV.read({"numbers": [16, 8, 4], "target": target}) for target in SAMPLES]


def candidate(problem, text):
    verdict = ENV.check(problem, read_tags(text).answer)
    row = {"text": text, "answer": None, "correct": verdict.correct, "reason": verdict.reason, "error": None}
    return row | {"tokens": 0, "logprob": 0.0, "finish_reason": "stop"}


def words(text):
    return len(text.split()) + 1


def built():
    rows = {
        problem.key: {"key": problem.key, "candidates": [candidate(problem, text) for text in texts]}
        for problem, texts in zip(PROBLEMS, SAMPLES.values(), strict=True)
    }
    return build(PROBLEMS, rows, {"countdown"}, JourneyConfig(min_wrong=1, max_wrong=1), words)


def test_each_problem_with_right_and_wrong_attempts_has_a_journey():
    journeys = built().journeys
    assert [trace.problem.key for trace in journeys] == [problem.key for problem in PROBLEMS[:2]]
    assert journeys[0].completion == f" 16 + 8 = 24, 24 + 4 = 28 high\n{TWELVE}"
    assert [trace.attempts for trace in journeys] == [2, 2] and [trace.sample for trace in journeys] == [1, 1]
    assert [trace.difficulty for trace in journeys] == [2 / 3, 1 / 2]


def test_shortcuts_are_the_right_attempts_of_the_same_problems():
    found = built()
    controls = shortcuts_of(found.journeys, found.shortcuts)
    assert [trace.completion for trace in controls] == [TWELVE, TWENTY]
    assert all(trace.correct and trace.attempts == 1 for trace in controls)


def test_equal_tokens_take_further_problems_then_further_attempts_then_repeat():
    found = built()
    # The right attempts have 22, 20 and 20 words, the end token included, and a wrong line has 11.
    assert [trace.tokens for trace in found.journeys] == [22 + 11, 20 + 11]
    equal = with_equal_tokens(found.journeys, found.shortcuts)
    assert [trace.completion for trace in equal] == [TWELVE, TWENTY, SUM]  # 62 words; another one would make it 82
    # 128 words take the second right attempt of the first problem, and then the first ones again: 124.
    equal = with_equal_tokens(found.journeys * 2, found.shortcuts)
    assert [trace.completion for trace in equal] == [TWELVE, TWENTY, SUM, TWELVE_TOO, TWELVE, TWENTY]


def test_without_journeys_or_right_attempts_there_are_no_controls():
    found = built()
    assert with_equal_tokens([], found.shortcuts) == [] and with_equal_tokens(found.journeys, {}) == []

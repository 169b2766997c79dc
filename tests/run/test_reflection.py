import math
import time

import pytest

from envs.countdown.behaviors import read_countdown_behaviors
from envs.countdown.task import Countdown
from envs.mixed import Mixed
from envs.questions.task import Questions
from grpo.types import Group, Problem, Rollout, Score
from run.reflection import mean_tries, read_groups, reflection_metrics
from tests.builders import PROBLEM, completion

HIT = " 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> ( 16 - 8 ) + 4 </answer>"
MISS = " 16 + 8 = 24, 24 + 4 = 28 high\n</think> <answer> ( 16 + 8 ) + 4 </answer>"
BOTH = " 16 + 8 = 24, 24 + 4 = 28 high\n" + HIT
SILENT = "</think> <answer> ( 16 - 8 ) + 4 </answer>"
TASKS = {"countdown": Countdown(), "gsm8k": Questions("gsm8k", path="unread")}
ENV = Mixed(TASKS, dict.fromkeys(TASKS, 1.0))
GSM8K = Problem("gsm8k", "k", "p", "4", {"answer": "4"})
FALSE_YES = " 16 - 8 = 9, 9 + 4 = 13 yes\n</think> <answer> 1 </answer>"


def group(*completions, problem=PROBLEM):
    """A group of (text, is correct, tokens)."""
    rollouts = [
        Rollout(completion([5] * tokens, text), Score(float(right), right, {}, ""))
        for text, right, tokens in completions
    ]
    return Group(problem, tuple(rollouts))


def reflect(groups, prefix):
    return reflection_metrics(groups, read_groups(ENV, groups), prefix)


def test_reflection_metrics_by_hand():
    first = group((HIT, True, 10), (BOTH, True, 20), (MISS, False, 6), (SILENT, True, 3))
    second = group((FALSE_YES, False, 12), (SILENT, False, 3))
    metrics = reflect([first, second], "reflection")
    assert all(math.isfinite(value) for value in metrics.values())
    # Five attempts in six completions; ten equations, of which 16 - 8 = 9 is false; three times yes, one of them false.
    expected = {
        "n": 6,
        "verification": 4 / 6,
        "backtracking": 1 / 6,
        "subgoals": 4 / 6,
        "backward_chaining": 0,
        "keywords": 0,
        "waits": 0,
        "tries": 5 / 6,
        "arithmetic": 9 / 10,
        "copying": 1,
        "decorative": 1 / 3,
        "mixed_scripts": 0,
        "length_right": 11,
        "length_wrong": 7,
        "accuracy_with": 2 / 4,
        "accuracy_without": 1 / 2,
        # First problem: 2 of 3 with, 1 of 1 without; second: 0 of 1, 0 of 1.
        "gain_same_problem": ((2 / 3 - 1) + 0) / 2,
        "accuracy_with_backtracking": 1,
        "accuracy_without_backtracking": 2 / 5,
        "gain_backtracking": 1 - 2 / 3,
    }
    assert metrics == pytest.approx({f"reflection/{name}": value for name, value in expected.items()})


def test_a_thought_with_words_in_two_scripts_is_mixed():
    english, chinese = " 16 + 8 = 24, 24 + 4 = 28 high\n", " 16 + 8 = 24, 24 + 4 = 28 高\n"
    end = "</think> <answer> 高 high </answer>"
    texts = [english + chinese + end, english * 2 + end, chinese * 2 + end, english + end]
    assert reflect([group(*((text, False, 5) for text in texts))], "r")["r/mixed_scripts"] == 1 / 4


def test_metrics_without_a_denominator_are_omitted():
    metrics = reflect([group((SILENT, True, 3)), group((SILENT, True, 3))], "eval")
    absent = [
        "arithmetic",
        "copying",
        "decorative",
        "length_wrong",
        "accuracy_with",
        "gain_same_problem",
        "gain_backtracking",
    ]
    assert not {f"eval/{name}" for name in absent} & metrics.keys()
    assert metrics["eval/accuracy_without"] == 1 and metrics["eval/tries"] == 0


def test_no_completions_give_only_their_count():
    assert reflect([], "r") == {"r/n": 0}


def test_the_gain_needs_problems_with_both_kinds_of_completions():
    metrics = reflect([group((BOTH, True, 5)), group((SILENT, False, 5))], "r")
    assert (
        metrics["r/accuracy_with"] == 1 and metrics["r/accuracy_without"] == 0 and "r/gain_same_problem" not in metrics
    )


def test_metrics_of_a_mix_of_tasks():
    # Tries are averaged over the countdown completion alone.
    metrics = reflect([group((BOTH, True, 5)), group(("Wait, 2 + 2 = 4", True, 5), problem=GSM8K)], "r")
    assert metrics["r/waits"] == 0.5 and metrics["r/tries"] == 2 and metrics["r/arithmetic"] == 1


def test_mean_tries_by_hand():
    countdown = group((BOTH, True, 5), (HIT, True, 5), (SILENT, True, 5))  # 2, 1 and 0 attempts
    question = group(("2 + 2 = 4\n4 + 1 = 5", False, 5), problem=GSM8K)
    assert mean_tries(read_groups(ENV, [countdown])) == mean_tries(read_groups(ENV, [countdown, question])) == 1
    assert mean_tries(read_groups(ENV, [question])) is None


def test_reading_a_step_of_256_completions_takes_milliseconds():
    # 100 tokens are seven lines of the tiny model; half of the lines differ between completions.
    lines = [f" {16 + i % 20} + {j} = {16 + i % 20 + j}, {i} - 4 = {i - 4} low\n" for i in range(256) for j in range(7)]
    texts = ["".join(lines[7 * i : 7 * i + 7]) for i in range(256)]
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            read_countdown_behaviors(text, [16, 8, 4], 12)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2  # 0.02 s on one core of a laptop; the margin is for a busy machine

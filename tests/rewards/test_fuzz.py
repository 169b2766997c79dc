import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.countdown.task import Countdown
from envs.grading import grade
from envs.questions.task import Questions
from rewards.mix import COMPONENTS, RewardConfig
from tests.fuzz.hostile import CODE, ODD, TAGS, megabyte
from tests.fuzz.oracles import answer_of, could_mean, in_format, solves_countdown
from tests.fuzz.run import LIMIT, fuzz

ALL = RewardConfig(dict.fromkeys(COMPONENTS, 1.0))
PROBLEM = Countdown().read({"numbers": [4, 6, 1], "target": 24})
PIECES = [*TAGS, *ODD, *CODE, *"0123456789+-*/()=. ", "4 * 6 * 1"]
SOUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=4)).map("".join)


def test_fuzzing_finds_no_fault():
    findings = fuzz(10_000, seed=7)
    assert findings.faults == [] and findings.correct > 2000 and findings.decided > 6000


@settings(max_examples=500, deadline=None, derandomize=True)
@given(SOUP | st.text())
def test_scores_agree_with_the_oracle_on_any_text(text):
    score = grade(Countdown(), ALL, PROBLEM, text, 10)
    assert score.error is None
    assert score.correct == solves_countdown(answer_of(text), [4, 6, 1], 24)
    assert score.components["format"] == in_format(text)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*"0123456789.,-+/%$ =e", "\\frac{1}{2}", *ODD])).map("".join))
def test_accepted_numbers_are_possible_readings_of_the_text(text):
    env = Questions("gsm8k", path="unread")
    sayable = {value for value in could_mean(text) if len(str(value)) < 100}
    for value in sayable | {Fraction(18), Fraction(1, 2)}:
        score = grade(env, ALL, env.read({"answer": str(value)}), f"so </think><answer>{text}</answer>", 10)
        assert not score.correct or value in could_mean(text)


@pytest.mark.parametrize("seed", range(8))
def test_a_megabyte_is_scored_within_the_limit(seed):
    text = megabyte("4 * 6 * 1", random.Random(seed))
    started = time.thread_time()
    assert grade(Countdown(), ALL, PROBLEM, text, 10).error is None
    assert time.thread_time() - started < 2 * LIMIT


@pytest.mark.parametrize(
    ("answer", "right"),
    [("4*6/1", True), ("+4 * 6 * 1", True), ("4 ** 6", False), ("(4 * 6 * 1", False), ("24", False), ("4_6", False)],
)
def test_the_oracle_by_hand(answer, right):
    assert solves_countdown(answer, [4, 6, 1], 24) is right

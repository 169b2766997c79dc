import math

import pytest

from envs.grading import grade
from envs.questions.task import Questions
from rewards.components import Scored, answered, correct, format, language, length, repetition
from rewards.mix import COMPONENTS, RewardConfig
from rewards.tags import read_tags
from rewards.verdict import CORRECT, NO_ANSWER, Verdict


def scored(text, verdict=CORRECT, tokens=100, wanted="en", max_tokens=100, overlong=40):
    return Scored(text, read_tags(text), verdict, tokens, wanted, max_tokens, overlong)


def test_correct_and_answered_follow_the_verdict():
    wrong = Verdict(False, True, "equals 3")
    assert (correct(scored("x")), answered(scored("x"))) == (1.0, 1.0)
    assert (correct(scored("x", wrong)), answered(scored("x", wrong))) == (0.0, 1.0)
    assert (correct(scored("x", NO_ANSWER)), answered(scored("x", NO_ANSWER))) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("we add </think> <answer>7</answer>", 1.0),
        ("we\n\nadd\n</think>\n\n<answer>\n7\n</answer>\n", 1.0),
        ("we add </think> <answer></answer>", 0.0),
        ("</think> <answer>7</answer>", 0.0),
        ("we add <answer>7</answer> </think>", 0.0),
        ("we add </think> <answer>7</answer> <answer>8</answer>", 0.0),
        ("we <think> add </think> <answer>7</answer>", 0.0),
        ("we add", 0.0),
    ],
)
def test_format_requires_every_tag_once_in_order_with_content(text, points):
    assert format(scored(text)) == points


@pytest.mark.parametrize(
    ("thought", "wanted", "share"),
    [
        ("we add three and four", "en", 1.0),
        ("we 加 three", "en", 2 / 3),
        ("我们加", "zh", 1.0),
        ("we 加三", "zh", 2 / 3),
        ("мы складываем", "ru", 1.0),
        ("3 + 4 = 7", "en", 0.0),
        ("", "en", 0.0),
    ],
)
def test_language_is_the_share_of_words_in_its_script(thought, wanted, share):
    found = language(scored(f"{thought}</think><answer>答案</answer>", wanted=wanted))
    assert found == pytest.approx(share)


@pytest.mark.parametrize(
    ("tokens", "punishment"), [(0, 0.0), (60, 0.0), (70, -0.25), (80, -0.5), (100, -1.0), (140, -1.0)]
)
def test_the_length_penalty_grows_over_the_last_tokens_before_the_limit(tokens, punishment):
    assert length(scored("x", tokens=tokens, max_tokens=100, overlong=40)) == pytest.approx(punishment)


def test_length_without_a_number_of_tokens_raises_an_error():
    with pytest.raises(ValueError, match="number of tokens"):
        length(scored("x", tokens=None))


@pytest.mark.parametrize(
    ("thought", "punishment"),
    # a b c d a b c d has 5 4-grams, of which abcd occurs twice
    [("a b c d e", 0.0), ("a b c d a b c d", -1 / 5), ("a a a a a a", -2 / 3), ("a b", 0.0), ("", 0.0)],
)
def test_repetition_is_the_share_of_repeated_ngrams(thought, punishment):
    assert repetition(scored(thought)) == pytest.approx(punishment)


def test_every_public_function_of_the_module_is_a_component():
    assert set(COMPONENTS) == {"correct", "answered", "format", "language", "length", "repetition"}


def test_only_components_with_a_weight_are_computed():
    env = Questions("gsm8k", path="unread")
    score = grade(env, RewardConfig({"correct": 2.0}), env.read({"answer": "7"}), "</think><answer>7</answer>", None)
    assert score.correct and score.components == {"correct": 1.0} and score.reward == 2.0 and score.error is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {}}, "reward.weights must name at least one of"),
        ({"weights": {"corect": 1.0}}, "format_judge, got corect"),
        ({"weights": {"language": 1.0}, "language": "xx"}, "reward.language must be one of en, zh"),
        ({"weights": {"length": 1.0}, "overlong_tokens": 2000}, "must be in 1..reward.max_tokens=1024, got 2000"),
        ({"weights": {"format_judge": 1.0}}, "reward.judge.model"),
        ({"weights": {"correct": 1.0}, "workers": 0}, "reward.workers"),
        ({"weights": {"correct": 1.0}, "timeout_s": math.inf}, "reward.timeout_s must be above 0 and finite"),
        ({"weights": {"correct": math.nan}}, "reward.weights must be finite numbers, and not all 0"),
        ({"weights": {"correct": 1.0, "format": -math.inf}}, "reward.weights must be finite numbers"),
        ({"weights": {"correct": 0.0}}, "reward.weights must be finite numbers, and not all 0"),
    ],
)
def test_invalid_mixes_are_rejected_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        RewardConfig(**settings)

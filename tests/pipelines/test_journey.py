"""Journeys worked by hand: the tree, the walk, and the two languages."""

import re

import pytest

from conf.traces import JourneyConfig
from envs.countdown.behaviors import read_countdown_behaviors
from envs.countdown.corpus import all_derivations, line, tiny_countdown
from envs.countdown.task import Countdown
from envs.multiplication.task import Multiplication
from envs.words import read_words
from grpo.types import Problem
from pipelines import journey as module
from pipelines.journey import JourneyAttempt, depth_first, explain, journey, read_attempts, shortcut
from rewards.tags import read_tags

PROBLEM = tiny_countdown().read({"numbers": [16, 8, 4], "target": 12})
ALL = JourneyConfig(min_wrong=1, max_wrong=1)


def candidate(text, correct=False, reason="", error=None):
    return {
        "text": text,
        "answer": None,
        "correct": correct,
        "reason": "correct" if correct else reason,
        "error": error,
        "tokens": len(text.split()),
        "logprob": 0.0,
        "finish_reason": "stop",
    }


def graded(env, problem, text):
    verdict = env.check(problem, read_tags(text).answer)
    return candidate(text, verdict.correct, verdict.reason)


def attempt(path, right=False):
    return JourneyAttempt(tuple(path), "wrong", path, "</think>" if right else "", 0)


def words(text):
    return len(text.split()) + 1


def walk(*paths, right):
    return ["".join(one.steps) for one in depth_first([attempt(path, path == right) for path in paths])]


def test_the_walk_is_depth_first_with_the_right_branch_last_at_every_fork():
    assert walk("123", "14", "126", "5", right="126") == ["5", "14", "123", "126"]
    # Branches without the right attempt follow in the order of their first occurrence.
    assert walk("9", "71", "8", "72", "6", right="6") == ["9", "71", "72", "8", "6"]


def test_an_attempt_that_ends_at_a_fork_comes_before_those_that_go_on():
    assert walk("12", "1", "13", right="13") == ["1", "12", "13"]
    # Unless it is the right one.
    assert walk("12", "1", "13", right="1") == ["12", "13", "1"]


TINY = [
    " 16 * 8 = 128, 128 - 4 = 124 high\n</think> <answer> 16 * 8 - 4 </answer>",
    " 8 - 4 = 4, 16 + 4 = 20 high\n</think> <answer> 16 + ( 8 - 4 ) </answer>",
    # The same steps again, with a wrong verdict.
    " 16 * 8 = 128, 128 - 4 = 124 low\n</think> <answer> 16 * 8 - 4 </answer>",
    # A false equation, and a number that is not given: neither can be explained.
    " 16 - 8 = 9, 9 + 4 = 13 high\n</think> <answer> 16 - 8 + 4 </answer>",
    " 16 - 8 = 8, 8 + 5 = 13 high\n</think> <answer> 16 - 8 + 5 </answer>",
    " 8 - 4 = 4, 16 - 4 = 12 yes\n</think> <answer> 16 - ( 8 - 4 ) </answer>",
    " 16 + 8 = 24, 24 - 4 = 20 low\n</think> <answer> 16 + 8 - 4 </answer>",
    " 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 - 8 + 4 </answer>",
]
JOURNEY = (
    " 16 * 8 = 128, 128 - 4 = 124 high\n"
    " 16 + 8 = 24, 24 - 4 = 20 high\n"
    " 8 - 4 = 4, 16 + 4 = 20 high\n"
    " 8 - 4 = 4, 16 - 4 = 12 yes\n"
    "</think> <answer> 16 - ( 8 - 4 ) </answer>"
)


def tiny_attempts(texts):
    return read_attempts(PROBLEM, [graded(tiny_countdown(), PROBLEM, text) for text in texts], tiny=True)


def test_a_journey_in_the_trace_language():
    """Three different wrong attempts; the one that shares its first step with the right one comes last before it.
    Verdicts are the checker's: the model's "20 low" becomes "20 high"."""
    found = journey(PROBLEM, tiny_attempts(TINY), JourneyConfig(3, 3, 99), words, tiny=True)
    assert found is not None and found.completion == JOURNEY
    behaviors = read_countdown_behaviors(found.completion, [16, 8, 4], 12)
    assert behaviors.tries == 4 and behaviors.copied == 4 and behaviors.decorative == 0 and behaviors.backtracking


def test_the_lines_of_a_search_are_attempts_of_their_own():
    assert [one.reason for one in tiny_attempts([JOURNEY])] == ["high", "high", "high", "yes"]
    again = journey(PROBLEM, tiny_attempts([JOURNEY]), JourneyConfig(3, 3, 99), words, tiny=True)
    assert again is not None and again.completion == JOURNEY


def test_lines_are_those_of_the_corpus():
    for derivation in all_derivations((4, 8, 16)):
        written = line(derivation, 12)
        [read] = tiny_attempts([f"{written}</think> <answer> {derivation.expression} </answer>"])
        assert module._write_tiny([read]).startswith(written)


def test_a_right_line_with_a_wrong_answer_is_no_attempt():
    assert tiny_attempts([" 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 + 8 + 4 </answer>"]) == []


def test_attempts_are_dropped_until_the_journey_fits():
    # A wrong line has 11 words.
    def size(max_tokens, min_wrong=1):
        found = journey(PROBLEM, tiny_attempts(TINY), JourneyConfig(min_wrong, 3, max_tokens), words, tiny=True)
        return found and len(found.attempts)

    wrong, right = 11, words(TINY[5])
    drawn = size(1000)
    assert drawn is not None
    assert [size(right + wrong * count) for count in (1, 2, 3)] == [min(drawn, count + 1) for count in (1, 2, 3)]
    assert size(right + wrong - 1) is None and size(right + wrong - 1, min_wrong=0) == 1


def test_a_journey_needs_a_right_attempt_and_enough_wrong_ones():
    settings = JourneyConfig(2, 3, 99)
    assert journey(PROBLEM, tiny_attempts(TINY[:5]), settings, words, tiny=True) is None
    assert journey(PROBLEM, tiny_attempts([TINY[0], TINY[5]]), settings, words, tiny=True) is None
    assert journey(PROBLEM, tiny_attempts([TINY[0], TINY[1], TINY[5]]), settings, words, tiny=True) is not None


def test_the_number_of_wrong_attempts_varies_and_depends_on_the_problem_alone():
    env = tiny_countdown()
    sizes = []
    for index in range(60):
        problem = env.problem(0, "train", index)
        target = problem.fields["target"]
        texts = [
            f"{line(one, target)}</think> <answer> {one.expression} </answer>"
            for one in all_derivations(tuple(sorted(problem.fields["numbers"])))
        ]
        attempts = read_attempts(problem, [graded(env, problem, text) for text in texts], tiny=True)
        found = journey(problem, attempts, JourneyConfig(1, 4, 999), words, tiny=True)
        assert found is not None and found == journey(problem, attempts, JourneyConfig(1, 4, 999), words, tiny=True)
        assert env.check(problem, read_tags(found.completion).answer).correct
        sizes.append(len(found.attempts))
    assert set(sizes) == {2, 3, 4, 5}


TEXT = [
    " First, 8 - 4 = 4. Then 16 + 4 = 20.\n</think> <answer> 16 + (8 - 4) </answer>",
    "\nAdd all: 16 + 8 + 4 = 28\n</think>\n<answer> 16 + 8 + 4 </answer>",
    " I do not know.\n</think> <answer> twelve </answer>",
    " First, 8 - 4 = 4. Then 16 - 4 = 12.\n\nDone!\n</think> <answer> 16 - (8 - 4) </answer>",
]


def fixed_phrases(monkeypatch):
    monkeypatch.setattr(module, "CLAIMS", ("So {answer}.",))
    monkeypatch.setattr(module, "EXPLANATIONS", ("But {reason}.",))
    monkeypatch.setattr(module, "STARTS_OVER", ("Start over.",))
    monkeypatch.setattr(module, "GOES_BACK", ('Back to "{step}".',))


def text_journey(texts=TEXT, settings=ALL):
    env = Countdown()
    problem = env.read({"numbers": [16, 8, 4], "target": 12})
    attempts = read_attempts(problem, [graded(env, problem, text) for text in texts], tiny=False)
    return journey(problem, attempts, settings, words, tiny=False)


def test_a_journey_in_text(monkeypatch):
    fixed_phrases(monkeypatch)
    found = text_journey(settings=JourneyConfig(2, 2, 999))
    assert found is not None and found.completion == (
        "\nAdd all: 16 + 8 + 4 = 28\n"
        "So 16 + 8 + 4. But 28 is not 12; too big. Start over.\n"
        "First, 8 - 4 = 4. Then 16 + 4 = 20.\n"
        'So 16 + (8 - 4). But 20 is not 12; too big. Back to "First, 8 - 4 = 4".\n'
        "Then 16 - 4 = 12.\n\nDone!\n"
        "</think> <answer> 16 - (8 - 4) </answer>"
    )


def test_a_right_attempt_alone_is_the_sample_itself():
    env = Countdown()
    problem = env.read({"numbers": [16, 8, 4], "target": 12})
    [own] = read_attempts(problem, [graded(env, problem, TEXT[3])], tiny=False)
    assert shortcut(own, tiny=False) == TEXT[3]
    assert [shortcut(own, tiny=True) for own in tiny_attempts(TINY[5:6])] == TINY[5:6]


def test_of_two_samples_with_the_same_thought_the_right_one_counts():
    env = Countdown()
    problem = env.read({"numbers": [16, 8, 4], "target": 12})
    wrong = TEXT[3].replace("16 - (8 - 4)", "16 - 8 - 4")
    [own] = read_attempts(problem, [graded(env, problem, text) for text in (wrong, TEXT[3])], tiny=False)
    assert own.right and shortcut(own, tiny=False) == TEXT[3]


def test_phrases_vary_with_the_problem_and_read_as_reflection():
    thoughts = set()
    env = Countdown()
    for target in range(20, 60):
        problem = env.read({"numbers": [target, 8, 4], "target": target + 4})
        texts = [f" {target} + 8 = {target + 8}, no.\n</think> <answer> {target} + 8 + 4 </answer>"]
        texts += [f" {target} + 8 - 4 = {target + 4}.\n</think> <answer> {target} + 8 - 4 </answer>"]
        attempts = read_attempts(problem, [graded(env, problem, text) for text in texts], tiny=False)
        found = journey(problem, attempts, ALL, words, tiny=False)
        assert found is not None and read_words(read_tags(found.completion).thought).backtracking
        behaviors = read_countdown_behaviors(found.completion, [target, 8, 4], target + 4)
        assert behaviors.verification and behaviors.backtracking
        thoughts.add(re.sub(r"\d+", "N", found.completion))
    assert len(thoughts) > 10


@pytest.mark.parametrize("phrase", [*module.STARTS_OVER, *module.GOES_BACK])
def test_every_correction_reads_as_backtracking(phrase):
    assert read_words(phrase.format(step="2 + 4 = 6")).backtracking


def test_a_right_attempt_that_ends_at_a_fork_ends_the_journey(monkeypatch):
    fixed_phrases(monkeypatch)
    right = " 16 - (8 - 4) = 12.\n</think> <answer> 16 - (8 - 4) </answer>"
    wrong = " 16 - (8 - 4) = 12. Or 16 + 8 + 4.\n</think> <answer> 16 + 8 + 4 </answer>"
    found = text_journey([wrong, right])
    assert found is not None and found.completion == (
        " 16 - (8 - 4) = 12. Or 16 + 8 + 4.\n"
        'So 16 + 8 + 4. But 28 is not 12; too big. Back to "16 - (8 - 4) = 12".\n'
        "</think> <answer> 16 - (8 - 4) </answer>"
    )


def test_malformed_samples_are_no_attempts():
    assert text_journey([TEXT[2], TEXT[3]]) is None
    assert text_journey([TEXT[0].replace("</think>", ""), TEXT[3]]) is None
    assert text_journey([TEXT[0].replace("<answer> ", "<answer> <answer> "), TEXT[3]]) is None
    failed = candidate(TEXT[0], reason="the grader failed", error="died")
    assert read_attempts(PROBLEM, [failed], tiny=False) == []


@pytest.mark.parametrize(
    ("answer", "clause"),
    [
        ("16 + 8 + 4", "28 is not 12; too big"),
        ("16 - 8 - 4", "4 is not 12; too small"),
        ("16 / (8 + 4)", "4/3 is not 12; too small"),
        ("16 - 4", "that uses 16, 4 instead of 16, 8, 4, each once"),
        ("16 / (8 - 4 - 4)", "that uses 16, 8, 4, 4 instead of 16, 8, 4, each once"),
        ("16 - twelve", None),
        ("", None),
    ],
)
def test_reasons_of_countdown(answer, clause):
    assert explain(PROBLEM, tiny_countdown().check(PROBLEM, answer).reason) == clause


def test_reasons_of_other_tasks_do_not_give_the_answer_away():
    env = Multiplication()
    problem = env.read({"a": 12, "b": 12})
    assert explain(problem, env.check(problem, "143").reason) == "143 is not right"
    code = Problem("code", "k", "p", "", {})
    assert explain(code, "test 2 of 9: f(3) gave 5, not 6") == "test 2 of 9: f(3) gave 5, not 6"

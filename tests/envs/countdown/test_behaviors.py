import pytest

from envs.countdown.behaviors import read_countdown_behaviors

END = "\n</think> <answer> 1 </answer>"


def read(text, numbers, target):
    return read_countdown_behaviors(text + END, numbers, target)


def tiny(text):
    return read(text, [1, 17, 17], 35)


def free(text):
    return read(text, [44, 19, 35], 98)


def test_a_trace_of_the_tiny_model_by_hand():
    shown = tiny(" 17 - 1 = 16, 17 + 16 = 34 low\n 17 + 1 = 18, 18 + 17 = 35 yes")
    assert shown.verification and shown.backtracking and shown.subgoals and not shown.backward_chaining
    assert (shown.tries, shown.equations, shown.true_equations, shown.copied) == (2, 4, 3, 2)
    assert (shown.verdicts_yes, shown.decorative) == (1, 0)


def test_a_yes_on_an_attempt_that_misses_the_target_is_decorative():
    # A wrong sum, a number used twice, a value that is not available; and a hit.
    for line in ("17 + 1 = 18, 18 + 17 = 34 yes", "17 + 17 = 34, 34 + 17 = 51 yes", "18 + 17 = 35 yes"):
        assert tiny(line).decorative == tiny(line).verdicts_yes == 1, line
    assert tiny("17 + 1 = 18, 18 + 17 = 35 yes").decorative == 0


@pytest.mark.parametrize(
    "text",
    ["44 + 19 = 63. This is too low.", "44 + 19 = 63 (less than 98)", "44 + 19 + 35 = 98. This works!"]
    + ["44 + 19 - 35 = 28, which is not equal to 98", "44 + 35 = 79, which is not our target", "44 + 19 = 63 < 98"]
    + [
        "44 * 19 = 836, which is too big.",
        "44 + 19 = 63 ≠ 98",
        "(44 + 19) + 35 = 98 ✓",
        "44 - 19 = 25. That doesn't work.",
    ]
    + ["44 + 19 + 35 = 98\nwhich equals 98", "Let me check: 44 + 19 + 35 = 98", "44 + 19 = 63. No, that is wrong."],
)
def test_a_verdict_in_words_is_verification(text):
    assert free(text).verification


@pytest.mark.parametrize(
    "text",
    ["44 + 19 = 63", "We need 98, which is high.", "44 + 19 = 63. We need 35 more.", "44 + 19 = 63, 63 + 35 = 98"]
    + [
        "44 + 19 = 63. Let's try a bigger one, more than that",
        "check the numbers 44, 19, 35",
        "44 + 19 = 63, equals 63",
    ]
    + ["I use the above. 44 + 19 = 63 and follow on", "yes, I can do that: 44 + 19 = 63"],
)
def test_text_without_a_verdict_is_not_verification(text):
    assert not free(text).verification


@pytest.mark.parametrize(
    "text",
    ["44 + 19 = 63, 63 - 35 = 28\n44 + 35 = 79, 79 + 19 = 98", "44 - 19 + 35 = 60. 44 + 19 + 35 = 98."]
    + ["44 * 19 = 836 (too high)\n44 + 19 = 63", "44 + 19 is no use. Let's try another way.", "I made a mistake."],
)
def test_a_different_attempt_after_a_miss_is_backtracking(text):
    assert free(text).backtracking


@pytest.mark.parametrize(
    "text",
    [
        "44 + 19 = 63, 63 + 35 = 98",  # one attempt in two equations
        "44 + 19 = 63.\nThen 63 + 35 = 98.",  # across sentences
        "First 44 + 19 = 63. That is too low. Add 35: 63 + 35 = 98",  # judged in between and then continued
        "(44 + 19) + 35 = 98, so (44 + 19) + 35 = 98",  # a hit, repeated
        "44 - 19 + 35 = 60\n44 - 19 + 35 = 60",  # the same attempt repeated
        "I will try my best.",
    ],
)
def test_repeated_continued_or_successful_attempts_are_not_backtracking(text):
    assert not free(text).backtracking


def test_two_values_that_are_later_combined_are_one_attempt():
    shown = read("2 * 3 = 6. Then 4 * 5 = 20. So 6 + 20 = 26, the target is reached.", [2, 3, 4, 5], 26)
    assert shown.tries == 1 and shown.copied == 1 and not shown.backtracking and shown.subgoals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("44 + 19 = 63, 63 + 35 = 98", True),
        ("44 + 19 = 63\nNow 63 + 35 = 98", True),
        ("First, I want to get 63 from two of them.", True),
        ("Step 1: add. Step 2: subtract.", True),
        ("(44 + 19) + 35 = 98", False),  # no intermediate value
        ("44 + 19 = 63 low\n44 + 35 = 79 low", False),  # computed but never used
        ("(44 + 19) * 35 = 63 * 35 = 2205", False),  # the same value, restated
        ("The first number is 44.", False),
    ],
)
def test_subgoals(text, expected):
    assert free(text).subgoals == expected


@pytest.mark.parametrize(
    "text",
    ["35 - 17 = 18\n17 + 1 = 18", "35 - 17 = 18. 18 - 1 = 17, which is there.", "Let's work backwards from 35."]
    + ["35 - 1 = 34, and 17 + 17 = 34."],
)
def test_backward_chaining_starts_at_the_target_and_reaches_the_numbers(text):
    assert tiny(text).backward_chaining


@pytest.mark.parametrize(
    "text",
    [
        "17 + 1 = 18, 18 + 17 = 35",  # forward
        "35 - 17 = 18",  # never reached
        "35 - 17 = 18\n17 - 1 = 16",  # another value is reached
        "35 - 17 = 18\n17 + 17 = 34, 35 - 17 = 18",  # not from the remaining numbers
        "35 - 17 = 19\n17 + 1 = 19",  # a false equation
        "35 - 16 = 19\n18 + 1 = 19",  # not a given number
        "35 - 17 = 18\n17 + 1 = 19, 19 - 1 = 18",  # reached by a false equation
        "17 + 18 = 35, 35 - 17 = 18, 17 + 1 = 18",  # 35 is a computed value here
        "17 + 1 = 18, 35 - 18 = 17",  # 18 is not a given number
    ],
)
def test_other_equations_are_not_backward_chaining(text):
    assert not tiny(text).backward_chaining


def test_an_attempt_that_a_step_back_meets_is_not_a_miss():
    shown = free("44 + 19 = 63\nNow 98 - 63 = 35\nSo 44 + 19 + 35 = 98")
    assert shown.backward_chaining and not shown.backtracking and shown.tries == 2
    assert not free("44 + 19 = 63\nNow 98 - 63 = 36").backward_chaining
    assert not free("44 + 19 = 63, 98 - 63 = 35").backward_chaining  # inside an attempt: 98 is not available


def test_steps_from_a_target_that_is_a_given_number_are_forward():
    assert not read("6 - 3 = 3, 3 - 3 = 0\n6 - 3 = 3", [6, 3, 3], 6).backward_chaining


def test_a_step_back_is_not_an_attempt():
    shown = tiny("35 - 17 = 18\n17 + 1 = 18, 18 + 17 = 35 yes")
    assert shown.tries == shown.copied == 1 and shown.equations == 3 and shown.backward_chaining


@pytest.mark.parametrize("text", ["We rechecked it.", "let me re-evaluate", "REEXAMINE", "go over the steps"])
def test_keywords(text):
    assert free(text).keywords and not free(text).waits


@pytest.mark.parametrize("text", ["research", "checking", "the waiter awaits", "12 = 3 * 4", "yes no high low"])
def test_other_words_are_not_keywords(text):
    assert not free(text).keywords and not free(text).waits


def test_only_the_thought_is_read():
    shown = read_countdown_behaviors(
        "17 + 17 = 34 low</think> wait, recheck 17 - 1 = 16 <answer>1</answer>", [1, 17, 17], 35
    )
    assert shown.tries == 1 and not shown.waits and not shown.keywords


def test_an_empty_completion_shows_nothing():
    shown = read_countdown_behaviors("", [1, 17, 17], 35)
    assert not shown.reflects and shown.shown == [] and shown.tries == 0

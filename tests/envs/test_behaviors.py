import time

import pytest

from envs.behaviors import read_behaviors
from envs.countdown.trace import read_tries
from report.spans import read_spans

END = "\n</think> <answer> 1 </answer>"
TINY = {"numbers": [1, 17, 17], "target": 35}
FREE = {"numbers": [44, 19, 35], "target": 98}


def tiny(text):
    return read_behaviors("countdown", TINY, text + END)


def free(text):
    return read_behaviors("countdown", FREE, text + END)


def product(text, a=47, b=38):
    return read_behaviors("multiplication", {"a": a, "b": b}, text + END)


def test_a_search_of_the_tiny_model_by_hand():
    shown = tiny(" 17 - 1 = 16, 17 + 16 = 34 low\n 17 + 1 = 18, 18 + 17 = 35 yes")
    assert shown.verification and shown.backtracking and shown.subgoals and not shown.backward_chaining
    assert (shown.tries, shown.equations, shown.true_equations, shown.copied) == (2, 4, 3, 2)
    assert (shown.verdicts_yes, shown.decorative) == (1, 0)


def test_a_verdict_yes_without_a_hit_is_decorative():
    # A wrong sum, a number used twice, a number left out, a plain miss; and one that is a hit.
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
def test_verification_in_words(text):
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
def test_what_is_no_verification(text):
    assert not free(text).verification


@pytest.mark.parametrize(
    "text",
    ["44 + 19 = 63, 63 - 35 = 28\n44 + 35 = 79, 79 + 19 = 98", "44 - 19 + 35 = 60. 44 + 19 + 35 = 98."]
    + ["44 * 19 = 836 (too high)\n44 + 19 = 63", "44 + 19 is no use. Let's try another way.", "I made a mistake."],
)
def test_backtracking_leaves_a_miss_for_something_else(text):
    assert free(text).backtracking


@pytest.mark.parametrize(
    "text",
    [
        "44 + 19 = 63, 63 + 35 = 98",  # one try in two equations
        "44 + 19 = 63.\nThen 63 + 35 = 98.",  # across sentences
        "First 44 + 19 = 63. That is too low. Add 35: 63 + 35 = 98",  # judged on the way, and gone on from
        "(44 + 19) + 35 = 98, so (44 + 19) + 35 = 98",  # a hit, said again
        "44 - 19 + 35 = 60\n44 - 19 + 35 = 60",  # the same try again
        "I will try my best.",
    ],
)
def test_what_is_no_backtracking(text):
    assert not free(text).backtracking


def test_two_values_made_apart_and_joined_are_one_try():
    fields = {"numbers": [2, 3, 4, 5], "target": 26}
    shown = read_behaviors("countdown", fields, "2 * 3 = 6. Then 4 * 5 = 20. So 6 + 20 = 26, the target is reached.")
    assert shown.tries == 1 and shown.copied == 1 and not shown.backtracking and shown.subgoals


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("44 + 19 = 63, 63 + 35 = 98", True),
        ("44 + 19 = 63\nNow 63 + 35 = 98", True),
        ("First, I want to get 63 from two of them.", True),
        ("Step 1: add. Step 2: subtract.", True),
        ("(44 + 19) + 35 = 98", False),  # no value of its own
        ("44 + 19 = 63 low\n44 + 35 = 79 low", False),  # made, and never used
        ("(44 + 19) * 35 = 63 * 35 = 2205", False),  # the same value, written anew
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
def test_backward_chaining_starts_at_the_target_and_arrives(text):
    assert tiny(text).backward_chaining


@pytest.mark.parametrize(
    "text",
    [
        "17 + 1 = 18, 18 + 17 = 35",  # forwards
        "35 - 17 = 18",  # never reached
        "35 - 17 = 18\n17 - 1 = 16",  # something else reached
        "35 - 17 = 18\n17 + 17 = 34, 35 - 17 = 18",  # from other numbers than those left
        "35 - 17 = 19\n17 + 1 = 19",  # a false step
        "35 - 16 = 19\n18 + 1 = 19",  # not a given number
        "35 - 17 = 18\n17 + 1 = 19, 19 - 1 = 18",  # reached wrongly
        "17 + 18 = 35, 35 - 17 = 18, 17 + 1 = 18",  # the 35 was made, not aimed at
        "17 + 1 = 18, 35 - 18 = 17",  # no given number is taken off
    ],
)
def test_what_is_no_backward_chaining(text):
    assert not tiny(text).backward_chaining


def test_a_try_and_a_step_back_that_meet_are_no_miss():
    shown = free("44 + 19 = 63\nNow 98 - 63 = 35\nSo 44 + 19 + 35 = 98")
    assert shown.backward_chaining and not shown.backtracking and shown.tries == 2
    assert not free("44 + 19 = 63\nNow 98 - 63 = 36").backward_chaining
    assert not free("44 + 19 = 63, 98 - 63 = 35").backward_chaining  # within a try: a number that it lacks


def test_a_target_that_is_a_given_number_is_no_start():
    fields = {"numbers": [6, 3, 3], "target": 6}
    assert not read_behaviors("countdown", fields, "6 - 3 = 3, 3 - 3 = 0\n6 - 3 = 3").backward_chaining


def test_a_step_back_is_no_try():
    shown = tiny("35 - 17 = 18\n17 + 1 = 18, 18 + 17 = 35 yes")
    assert shown.tries == shown.copied == 1 and shown.equations == 3 and shown.backward_chaining


def test_parts_of_a_product_are_subgoals_once_they_are_summed():
    one, all_of_them = " 40 * 30 = 1200", " 40 * 30 = 1200\n 40 * 8 = 320, 1200 + 320 = 1520"
    assert not product(one).subgoals and product(one).tries == product(one).copied == 1
    shown = product(all_of_them)
    assert shown.subgoals and shown.tries == shown.copied == 2 and not shown.reflects
    assert product("47 * 8 = 376, 47 * 30 = 1410. 376 + 1410 = 1786").subgoals
    assert not product("47 * 9 = 423, 423 + 1363 = 1786").subgoals  # 9 is no part of 38
    assert not product("47 * 38 = 1786, 1786 + 0 = 1786").subgoals  # all of it at once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40 * 30 = 1200\n 30 * 40 = 1200", True),
        ("1410 + 376 = 1786. 1786 / 38 = 47", True),
        ("1410 + 376 = 1786. Also 1880 - 94 = 1786", True),
        ("To check: 1786 / 47 = 38", True),
        ("1410 + 376 = 1786, so 47 * 38 = 1786", False),  # a conclusion
        ("40 * 30 = 1200, 40 * 8 = 320, 1200 + 320 = 1520", False),
        ("40 * 30 = 1200\n 40 * 30 = 1300", False),
    ],
)
def test_verification_of_a_product(text, expected):
    assert product(text).verification == expected


def test_two_parts_of_a_square_are_no_check_of_each_other():
    square = "70 * 70 = 4900\n 70 * 8 = 560, 4900 + 560 = 5460\n 8 * 70 = 560, 5460 + 560 = 6020"
    assert not product(square, 78, 78).verification
    assert product(square + "\n 8 * 70 = 560", 78, 78).verification


def test_a_part_redone_with_another_value_is_backtracking():
    assert product("40 * 8 = 360\n 8 * 40 = 320").backtracking
    assert not product("40 * 8 = 320\n 40 * 8 = 320\n 7 * 8 = 56").backtracking


def test_other_tasks_are_read_by_their_words():
    text = "First we find the cost: 3 * 4 = 12. Wait, let me check. 12 + 1 = 14. I should double-check and start over."
    shown = read_behaviors("gsm8k", {"answer": 13}, text + END)
    assert shown.verification and shown.backtracking and shown.subgoals and shown.keywords and shown.waits
    assert not shown.backward_chaining and shown.tries == 0 and (shown.equations, shown.true_equations) == (2, 1)


@pytest.mark.parametrize("text", ["We rechecked it.", "let me re-evaluate", "REEXAMINE", "go over the steps"])
def test_keywords(text):
    assert free(text).keywords and not free(text).waits


@pytest.mark.parametrize("text", ["research", "checking", "the waiter awaits", "12 = 3 * 4", "yes no high low"])
def test_what_is_no_keyword(text):
    assert not free(text).keywords and not free(text).waits


def test_only_the_thought_counts():
    shown = read_behaviors("countdown", TINY, "17 + 17 = 34 low</think> wait, recheck 17 - 1 = 16 <answer>1</answer>")
    assert shown.tries == 1 and not shown.waits and not shown.keywords


def test_a_task_without_its_fields_is_read_by_words():
    assert read_behaviors("multiplication", {"answer": 12}, "3 * 4 = 12").equations == 1


def test_an_empty_completion_shows_nothing():
    assert not read_behaviors("countdown", TINY, "").reflects


def test_the_tiny_language_is_read_as_the_older_reader_does():
    text = (
        " 17 - 17 = 0, 1 + 0 = 1 low\n 17 + 1 = 18, 18 + 16 = 34 low\n 17 - 1 = 16 low\n 17 * 17 = 289, 289 + 1 = 290"
    )
    tries, shown = read_tries(text, TINY["numbers"]), tiny(text)
    assert shown.tries == len(tries) == 4 and shown.copied == sum(one.copied for one in tries) == 2


HOSTILE = [
    "(" * 100_000,
    "1+" * 50_000,
    "1 + 1 = " * 12_500,
    "=" * 100_000,
    "1" * 100_000,
    "- " * 50_000,
    " " * 100_000,
]
HOSTILE += ["1 = 2 + " * 12_500, "check " * 16_000, "1 + 1 = 2 check " * 6_000, "not a " * 16_000, "first " * 16_000]
HOSTILE += [
    "35 - 1 = 34\n" * 8_000,
    "1 + 17 = 18 not not not not not\n" * 3_000,
    "<answer>" * 12_000,
    "\\times" * 16_000,
]
HOSTILE += [
    "İ" * 100_000,
    "٣ + ٣ = ٦ " * 10_000,
    "1,000" * 20_000,
    "let's " * 16_000,
    ". " * 50_000,
    "((1+2" * 20_000 + "= 3",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
@pytest.mark.parametrize(
    ("env", "fields"), [("countdown", TINY), ("multiplication", {"a": 47, "b": 38}), ("gsm8k", {})]
)
def test_hostile_text_takes_bounded_time(env, fields, text):
    start = time.process_time()
    read_behaviors(env, fields, text)
    read_spans(env, fields, text)
    assert time.process_time() - start < 2

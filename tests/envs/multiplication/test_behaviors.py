import pytest

from envs.multiplication.behaviors import read_multiplication_behaviors
from envs.multiplication.task import Multiplication


def product(text, a=47, b=38):
    return read_multiplication_behaviors(text + "\n</think> <answer> 1 </answer>", a, b)


def test_parts_are_subgoals_if_they_are_added_up():
    one, all_of_them = " 40 * 30 = 1200", " 40 * 30 = 1200\n 40 * 8 = 320, 1200 + 320 = 1520"
    assert not product(one).subgoals and product(one).tries == product(one).copied == 1
    shown = product(all_of_them)
    assert shown.subgoals and shown.tries == shown.copied == 2 and not shown.reflects
    assert product("47 * 8 = 376, 47 * 30 = 1410. 376 + 1410 = 1786").subgoals
    assert not product("47 * 9 = 423, 423 + 1363 = 1786").subgoals  # 9 is not a digit of 38
    assert not product("47 * 38 = 1786, 1786 + 0 = 1786").subgoals  # the whole product


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40 * 30 = 1200\n 30 * 40 = 1200", True),
        ("1410 + 376 = 1786. 1786 / 38 = 47", True),
        ("1410 + 376 = 1786. Also 1880 - 94 = 1786", True),
        ("To check: 1786 / 47 = 38", True),
        ("1410 + 376 = 1786, so 47 * 38 = 1786", False),  # restates the question
        ("40 * 30 = 1200, 40 * 8 = 320, 1200 + 320 = 1520", False),
        ("40 * 30 = 1200\n 40 * 30 = 1300", False),
    ],
)
def test_verification_of_a_product(text, expected):
    assert product(text).verification == expected


def test_two_equal_parts_of_a_square_do_not_verify_each_other():
    square = "70 * 70 = 4900\n 70 * 8 = 560, 4900 + 560 = 5460\n 8 * 70 = 560, 5460 + 560 = 6020"
    assert not product(square, 78, 78).verification
    assert product(square + "\n 8 * 70 = 560", 78, 78).verification


def test_recomputing_a_part_with_another_value_is_backtracking():
    assert product("40 * 8 = 360\n 8 * 40 = 320").backtracking
    assert not product("40 * 8 = 320\n 40 * 8 = 320\n 7 * 8 = 56").backtracking


def test_a_problem_that_has_only_an_answer_is_read_by_words():
    env = Multiplication()
    shown = env.read_behaviors(env.read({"answer": 12}), "3 * 4 = 12")
    assert shown.equations == 1 and shown.tries is None

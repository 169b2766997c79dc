from fractions import Fraction

import pytest

from envs.equations import end_of_thought, read_equations


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("17 - 12 = 5, 18 + 5 = 23 yes", [("17 - 12 = 5", 5, True), ("18 + 5 = 23", 23, True)]),
        ("(44 + 19) + 35 = 98.", [("(44 + 19) + 35 = 98", 98, True)]),
        ("2. 63 + 35 = 98\n- 1 + 1 = 3", [("63 + 35 = 98", 98, True), ("1 + 1 = 3", 3, False)]),
        ("(44 + 19 = 63)", [("44 + 19 = 63", 63, True)]),
        ("That is 19. 44 + 35 = 79", [("44 + 35 = 79", 79, True)]),
        ("44 + 19 = 63 + 35 = 98", [("44 + 19 = 63", 63, True), ("63 + 35 = 98", 98, True)]),
        ("so 98 = 44 + 54", [("98 = 44 + 54", 98, True)]),
        ("6 * 4 = 20 + 4, too", [("6 * 4 = 20 + 4", 24, True)]),
        ("6 - 20 = -14, -14 + 30 = 16", [("6 - 20 = -14", -14, True), ("-14 + 30 = 16", 16, True)]),
        ("1,200 + 320 = 1,520", [("1,200 + 320 = 1,520", 1520, True)]),
        (r"\(44 \times 2 = 88\), 6 ÷ 2 = 3, 5 x 3 = 15", None),
        ("20 / 6 = 3.33", [("20 / 6 = 3.33", Fraction("3.33"), True)]),
        ("20 / 6 = 3", [("20 / 6 = 3", 3, False)]),
        ("10 / 40 = 1/4", [("10 / 40 = 1/4", Fraction(1, 4), True)]),
        ("9 / 0 = 5", [("9 / 0 = 5", 5, False)]),
    ],
)
def test_equations_are_found_with_their_positions(text, read):
    found = [(text[one.start : one.end], one.value, one.is_true) for one in read_equations(text)]
    if read is None:
        assert [one.value for one in read_equations(text)] == [88, 3, 15] and all(true for _, _, true in found)
    else:
        assert found == read


@pytest.mark.parametrize(
    "text",
    ["44 + 19 = ?", "x - 17 + 1 = 3", "2.5 * 4 + 3 = 13", "20 * 50% = 10", "7 = 7", "44 + 19 ≠ 98", "2 ** 3 = 8"]
    + ["3 == 1 + 2", "total = 44 + 19", "1 + = 2", "50% * 20 + 5 = 15", "", "="],
)
def test_other_text_is_ignored(text):
    assert read_equations(text) == []


def test_the_second_equation_of_a_chain_restates_its_left_side():
    first, second = read_equations("(44 + 19) * 2 = 63 * 2 = 126")
    assert first.value == second.value == 126 and first.is_true and not first.restates and second.restates


def test_the_thought_ends_at_its_tag_or_the_answer_or_the_end_of_the_text():
    assert end_of_thought("ab</think><answer>1</answer>") == 2
    assert end_of_thought("ab<answer>1</answer>") == 2
    assert end_of_thought("ab") == 2

import pytest

from envs.countdown.checker import check

NUMBERS, TARGET = [4, 6, 1], 24


@pytest.mark.parametrize("answer", ["4 * 6 * 1", "(4*6)/1", "4*6*1=24", "1 * (6 * 4)", "\n4 * 6 * 1\n"])
def test_correct_answers(answer):
    verdict = check(answer, NUMBERS, TARGET)
    assert verdict.correct and verdict.well_formed and verdict.reason == "correct"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("4 * 6", "uses 4, 6 instead of 4, 6, 1, each once"),
        ("4 * 6 * 1 * 1", "uses 4, 6, 1, 1 instead of 4, 6, 1, each once"),
        ("46 / 1", "uses 46, 1 instead of 4, 6, 1, each once"),
        ("4 + 6 + 1", "equals 11, not 24"),
        ("4 / (6 - 6 * 1)", "uses 4, 6, 6, 1 instead of 4, 6, 1, each once"),
    ],
)
def test_the_verdict_on_a_wrong_answer_gives_the_reason(answer, reason):
    verdict = check(answer, NUMBERS, TARGET)
    assert not verdict.correct and verdict.well_formed and verdict.reason == reason


def test_a_division_by_zero_is_wrong():
    assert check("4 / (3 - 3)", [4, 3, 3], 4).reason == "divides by zero"


@pytest.mark.parametrize("answer", [None, "", "  \n", "twenty-four", "4 * 6 * 1 = 25", "4 * 6 * 1 = 24 = 24", "4 ** 6"])
def test_unreadable_answers_are_not_well_formed(answer):
    verdict = check(answer, NUMBERS, TARGET)
    assert not verdict.correct and not verdict.well_formed


def test_decimals_are_not_read_as_separate_digits():
    assert not check("2.5*4", [2, 5, 4], 10).correct


def test_the_target_alone_is_not_a_solution():
    assert not check("24", NUMBERS, TARGET).correct

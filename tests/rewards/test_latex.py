import pytest

from rewards.latex import LatexError, check_latex


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\boxed{\frac{1}{2}}", r"\frac12"),
        (r"$2\sqrt{2}$", r"\sqrt{8}"),
        (r"\left[0,1\right)", "[0,1)"),
        (r"\{2,1\}", r"\{1,2\}"),
        ("x=3", "3"),
    ],
)
def test_equal_mathematics_is_correct_however_it_is_written(answer, expected):
    assert check_latex(answer, expected).correct


@pytest.mark.parametrize(
    ("answer", "expected"), [("(1,2)", "(2,1)"), (r"\sqrt{2}", "1.41"), ("[0,1]", "[0,1)"), ("3", "-3")]
)
def test_what_differs_is_wrong(answer, expected):
    verdict = check_latex(answer, expected)
    assert not verdict.correct and verdict.well_formed and expected in verdict.reason


def test_an_empty_or_an_endless_answer_is_not_read():
    assert check_latex("", "3").reason == "no answer"
    assert check_latex("1+" * 600, "3").reason == "longer than 1000 characters"


def test_a_problem_whose_answer_can_not_be_read_is_an_error_and_no_wrong_answer():
    with pytest.raises(LatexError):
        check_latex("3", "")

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
def test_equal_expressions_are_correct_in_any_notation(answer, expected):
    assert check_latex(answer, expected).correct


@pytest.mark.parametrize(
    ("answer", "expected"), [("(1,2)", "(2,1)"), (r"\sqrt{2}", "1.41"), ("[0,1]", "[0,1)"), ("3", "-3")]
)
def test_different_expressions_are_wrong(answer, expected):
    verdict = check_latex(answer, expected)
    assert not verdict.correct and verdict.well_formed and expected in verdict.reason


def test_empty_and_very_long_answers_are_not_parsed():
    assert check_latex("", "3").reason == "no answer"
    assert check_latex("1+" * 600, "3").reason == "longer than 1000 characters"


def test_an_unreadable_reference_answer_raises_an_error():
    with pytest.raises(LatexError):
        check_latex("3", "")

import time

import pytest

from envs.grading import grade
from envs.questions.task import Questions
from rewards.latex import check_latex
from rewards.latex_text import normalized
from rewards.mix import RewardConfig


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
    ("answer", "expected"),
    [
        ("(1,2)", "(2,1)"),
        ("CAB", r"\text{ABC}"),
        ("neve", r"$\text{even}$."),
        (r"\sqrt{2}", "1.41"),
        ("[0,1]", "[0,1)"),
        ("3", "-3"),
    ],
)
def test_different_expressions_are_wrong(answer, expected):
    verdict = check_latex(answer, expected)
    assert not verdict.correct and verdict.well_formed and expected in verdict.reason


def test_a_long_list_is_normalized_in_linear_time():
    """Majority voting normalizes answers of any length."""
    start = time.perf_counter()
    assert normalized("1, 100, " * 10_000).startswith("1;100;1;100;")
    assert time.perf_counter() - start < 3


def test_empty_and_very_long_answers_are_not_parsed():
    assert check_latex("", "3").reason == "no answer"
    assert check_latex("1+" * 600, "3").reason == "longer than 1000 characters"


RIGHT = [
    # A sentence, emphasis, a full stop, a unit in words.
    (r"$\pi$.", r"\pi"), ("The answer is $5$", "5"), ("**5**", "5"), ("`5`", "5"), ("5.", "5"),
    ("The answer is 5.", "5"),
    (r"**$\frac{1}{2}$**", r"\frac12"), (r"The area is $5\pi$ square units.", r"5\pi"),
    (r"5\pi \text{ cm}^2", r"5\pi"),
    (r"$2\sqrt{3}$ cm", r"2\sqrt{3}"), (r"2\sqrt{3} units", r"2\sqrt3"), ("5 cm", "5"), (r"\boxed{5} dollars", "5"),
    (r"So $x = 5$.", "5"), (r"Answer: $\frac{3}{4}$", "0.75"), ("Evelyn", r"\text{Evelyn}"), (r"\text{even}", "even"),
    ("The function is even.", r"\text{even}"), (r"The roots are $1$ and $2$.", "1,2"), (r"\(5\)", "5"),
    (r"\[5\]", "5"),
    (r"$$\frac{1}{2}$$", r"\frac{1}{2}"), (r"\$18.90", "18.90"), ("1,000", "1{,}000"), (r"90^\circ", "90"),
    # Text equal to the reference answer.
    ("12:00", "12:00"), ("12:00.", "12:00"), ("$12:00$", "12:00"), (r"\text{(A)}", r"\text{(A)}"), ("^", "^"),
    ("?", "?"),
    ("10:30 a.m.", "10:30 a.m."), (r"\begin{x", r"\begin{x"), ("52_8", "52_8"), ("$52_{8}$", "52_8"),
    ("1A_{16}", "1a_16"),
    # Exact equality, and approximations that say so.
    (r"\frac{2}{4}", "0.5"), (r"\frac{1}{2^{99}}", "2^{-99}"), (r"\sqrt{2}\cdot\sqrt{3}", r"\sqrt{6}"),
    ("10^{30}", "10^{30}"),
    (r"\approx 1.414214", r"\sqrt{2}"), ("3.14159", r"\approx 3.14159"), ("x=5", "x=5"), ("a+b = 7", "7"),
    ("2 1/2", r"\frac{5}{2}"), ("$-2 1/2$", r"-\frac{5}{2}"), ("ba", "ab"),
    ("28\\%", "28"), (r"50\%", "0.5"), (r"-50\%", "-0.5"), (r"10\,000", "10000"), ("y=3", "y = 3"),
    # Matrices: rows end with two backslashes, perhaps with a space or a height after them.
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 \\[2pt] -2 \end{pmatrix}", r"\begin{pmatrix}1\\-2\end{pmatrix}"),
    (r"\begin{bmatrix} \frac15 & 0 \\ 1 & 2 \end{bmatrix}", r"\begin{bmatrix}1/5&0\\ 1&2\end{bmatrix}"),
    # A point with named coordinates, in any order of the names; sets in any notation.
    ("1,2", "a=1,b=2"), ("(1,2)", "b=2,a=1"), ("y=2,x=1", "(1,2)"), ("x=1,x=2", r"\{2,1\}"), ("1,-1", r"\pm 1"),
    (r"x\in(0,1)", "(0,1)"), ("(3,4),(1,2)", r"\{(1,2),(3,4)\}"), ("R/r", r"\frac{R}{r}"), ("2R+r", "r+2R"),
    # Numbers of three digits in a list, in any order, and thousands separators.
    ("144, 12", "12, 144"), ("300, 200, 100", "100, 200, 300"), ("$144$ and $12$", "12, 144"), ("12 , 144", "144, 12"),
    ("12,144", "12, 144"), ("12, 144", "12,144"), ("(12, 144)", "(12,144)"), ("12,144", "12144"),
    ("100, -100", r"\pm 100"), ("1234567", "1,234,567"), ("x=100, x=200", "200, 100"), (r"\{144,12\}", r"\{12, 144\}"),
    ("1,200, 300", "1,200, 300"),
    # Spaces around commands, and the letter π.
    (r"\langle 1,2\rangle", r"\langle1, 2\rangle"), (r"A \cup B", r"A\cup B"), ("2π", r"2\pi"),
    ("π/2", r"\frac{\pi}{2}"), ("The area is πr^2.", r"\pi r^2"),
    # A name before the box, and a unit after an escaped space.
    (r"$x = \boxed{5}$.", "5"), (r"y = \boxed{2x+1}", "2x+1"), (r"Area = \boxed{25\pi}", r"25\pi"),
    (r"f(x) = \boxed{2x+1}", "2x+1"), (r"x = \boxed{12, 144}", "144, 12"), (r"S = \boxed{\{0,1\}}", r"\{1,0\}"),
    (r"15\ \text{mph}", "15"), (r"15\ \mathrm{cm}", "15"), (r"5\pi\ \text{cm}^2", r"5\pi"),
    # \pi without braces, \pm inside an expression, and repeating decimals.
    (r"\frac\pi4", r"\frac{\pi}{4}"), (r"\frac \pi {12}", r"\pi/12"), (r"\frac1\pi", r"\frac{1}{\pi}"),
    (r"\frac{\sqrt{3}}\pi", r"\frac{\sqrt3}{\pi}"), (r"\sqrt\pi", r"\sqrt{\pi}"), (r"\frac23\pi", r"\frac{2\pi}{3}"),
    (r"\frac{-3\pm\sqrt{17}}{4}", r"\frac{-3+\sqrt{17}}{4},\frac{-3-\sqrt{17}}{4}"), (r"z=\pm i", "-i,i"),
    (r"x=\frac{1\pm\sqrt5}{2}", r"\frac{1 \pm \sqrt{5}}{2}"), (r"y=\pm x", "y=-x,y=x"), (r"x^{\pm1}", r"x,\frac1x"),
    (r"0.\overline{3}", r"\frac13"), (r"0.\bar3", "1/3"), (r"\frac{611}{495}", r"1.2\overline{34}"), (r".\bar{9}", "1"),
    # The imaginary unit.
    ("5 - 3 i", "5-3i"), ("4i", "4 i"), (r"3+2i\sqrt{2}", r"3 + 2\sqrt{2}i"), (r"\frac{4+3i}{2}", r"2+\frac{3}{2}i"),
    ("(2+i)(2-i)", "5"), ("i^2", "-1"), (r"\sqrt{-4}", "2i"), (r"e^{i\pi}", "-1"), ("|3+4i|", "5"), ("-i, i", r"\pm i"),
    (r"2\Delta", r"\Delta+\Delta"), (r"(\Delta, 1)", r"(\Delta,1)"), ("[0, 2A)", "[0,A+A)"),
    ("a + b i", "bi+a"), ("z = 5 - 3 i", "5-3i"), ("(z-i)(z+i)", "z^2+1"), ("1+i,1-i", "1 - i, 1 + i"),
    (r"\begin{pmatrix}1&i\\-i&1\end{pmatrix}", r"\begin{pmatrix}1& i \\ - i &1\end{pmatrix}"), ("E", r"\text{(E)}"),
]  # fmt: skip

WRONG = [
    # Upper and lower case are different symbols; the order counts in a point and not in a set.
    ("1", r"\frac{R}{r}"), ("0", r"\Delta-\delta"), ("2r", "R+r"), (r"\pi R^2", r"\pi r^2"), ("n", "N"),
    (r"\Omega", r"\omega"), (r"\Delta", r"\delta"), (r"(\Delta,1)", r"(\delta,1)"), (r"\{\Phi\}", r"\{\phi\}"),
    ("[0,A)", "[0,a)"), ("A_1", "a_1"), (r"X_{ab}", r"X_{aB}"),
    ("(-1,1)", r"\{-1,1\}"), (r"x\in\{0,4\}", "(0,4)"), ("(1,2,3)", r"\{3,2,1\}"), ("(-3,3)", r"\pm 3"),
    ("2,1", "a=1,b=2"), ("a=2,b=1", "(1,2)"),
    # A list or a point is not a number with thousands separators.
    ("12144", "12, 144"), ("12, 144", "12144"), (r"12,\ 144", "12144"), ("12 ,144", "12144"),
    ("$12$ and $144$", "12144"), ("12144", "(12,144)"), ("(12,144)", "12144"), ("3500", "(3,500)"),
    ("1200300", "(1,200,300)"), ("(1000)", "(1,000)"), ("512,144", "5, 12, 144"), ("1,200, 300", "1, 200, 300"),
    ("144, 12", "(12,144)"), ("12, 145", "12, 144"),
    (r"\langle 2,1\rangle", r"\langle1, 2\rangle"), ("π", "3.14"), ("25π", "25"), (r"\frac 1 2", r"\frac{12}{1}"),
    # What stands before or after a box may change its value.
    (r"-x=\boxed{5}", "5"), (r"2x=\boxed{5}", "5"), (r"3+\boxed{5}", "5"), (r"x=-\boxed{5}", "5"),
    (r"x^2=\boxed{5}", "5"), (r"x>\boxed{5}", "5"), (r"x=\boxed{5}+1", "5"), (r"Half = \boxed{5}", "5"),
    (r"y=\boxed{5}", "x=5"), (r"x=\boxed{5} or 6", "5"), (r"15\ \text{million}", "15"),
    (r"S=\boxed{(0,1)}", r"\{0,1\}"), ("x=(3,500)", "3500"),
    (r"\sqrt\pi r", r"\sqrt{\pi r}"), (r"\frac\pi12", r"\frac{\pi}{12}"), (r"\frac{2}{3}\pi", r"\frac{2}{3\pi}"),
    (r"\pm 2", "2"), ("2", r"\pm 2"), (r"\frac{-3\pm\sqrt{17}}{4}", r"\frac{-3+\sqrt{17}}{4}"), (r"y=\pm x", "y=x"),
    (r"\pm1\pm\sqrt2", r"1+\sqrt2,-1-\sqrt2"), (r"3, \pm 2", "-3,2,-2"),
    ("0.3", r"0.\overline{3}"), ("1.234", r"1.2\overline{34}"), (r"0.\overline{34}", r"0.\overline{43}"),
    # e and i are constants; E and I are symbols.
    ("1-i", "1+i"), ("2i", "2"), ("i", "-i"), ("e", "E"), ("E", "e"), ("e", r"\text{(E)}"), ("x=e", "E"), ("I", "i"),
    ("2I", "2i"), ("I^2", "-1"), ("2+i", "(2,1)"), ("z=5+3i", "z=5-3i"), ("z=5+3i", "5-3i"), ("|z-i|=2", "|z+i|=2"),
    # Letters in bold or italics after a number.
    (r"2\mathbf{i}+3\mathbf{j}", r"2\mathbf{i}-3\mathbf{j}"), (r"2\mathbf{v}", "2"), (r"2\mathit{v}", "2"),
    # Equations without real solutions.
    ("x^2=-1", "x^2=-2"), ("x^2+y^2=-1", "x^2+y^2=-4"), ("e^x=-1", "e^x=-2"),
    # Other bases, near misses, and small or large numbers.
    ("52_9", "52_8"), ("52", "52_8"), ("52_8", "52"), ("42_{10}", "52_8"), (r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"),
    ("0.0000003", "0.0000004"), ("1.4142136", r"\sqrt{2}"), ("0.333333", r"\frac13"), ("10^{30}+1", "10^{30}"),
    ("100000000000000000001", "100000000000000000000"), (r"\frac{\pi}{2^{98}}", r"\frac{\pi}{2^{99}}"),
    ("2^{100}+1", "2^{100}"),
    (r"(\frac{1}{2^{98}}, 1)", r"(\frac{1}{2^{99}}, 1)"), ("0.1", "0.10000001"), (r"\approx 3", r"\pi"),
    ("3.1415927", r"\pi"),
    # Signs, words and equations that mean something else.
    ("not $5$", "5"), ("The answer is not $5$", "5"), ("$-5$", "5"), (r"-\boxed{5}", "5"), ("-x = 5", "5"),
    ("2x = 10", "10"), ("x=3", "y=3"), ("P(A)=1/2", "P(B)=1/2"), ("2a=10", "10"), (r"-50\%", "0.5"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1 & 2\end{pmatrix}"),
    (r"\begin{pmatrix}1 \\ 2\end{pmatrix}", r"\begin{pmatrix}1 \\ 3\end{pmatrix}"),
    ("half of $5$", "5"), ("$5$ million", "5"), ("5 million", "5"), ("$5$ or $6$", "5"), (r"\pm 5", "5"),
    ("12:01", "12:00"),
    ("negative 5", "5"), ("The function is not even", r"\text{even}"), ("3$5$", "35"), ("5!", "5"), ("1 2", "12"),
    ("2 *3* 4", "234"), ("**5**2", "52"), (r"5\$6", "56"), ("5`6`", "56"),
    ("at least $5$", "5"), ("3", "?"), (r"\frac{1}{", "1"), ("{" * 300, "5"), (r"\left(", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), RIGHT)
def test_what_surrounds_the_mathematics_does_not_make_it_wrong(answer, expected):
    verdict = check_latex(answer, expected)
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(("answer", "expected"), WRONG)
def test_values_are_compared_exactly(answer, expected):
    assert not check_latex(answer, expected).correct


@pytest.mark.parametrize(("answer", "expected"), [(r"\approx 3.14159", "{}"), ("{}", r"\approx 3.14159")])
def test_text_that_is_no_mathematics_is_never_evaluated(answer, expected, tmp_path):
    """sympify, with which sympy converts a string to an expression, executes it as Python."""
    attack = f"__import__('pathlib').Path('{tmp_path}/executed').touch()"
    opened = f"open('{tmp_path}/executed','w')"
    for code in (opened, attack, f"({opened})", f"{opened} + 1"):
        check_latex(answer.format(code), expected.format(code))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_sympy_is_an_error_that_is_counted(monkeypatch):
    def fail(*arguments, **settings):
        raise RuntimeError("sympy failed")

    env = Questions("math", path="unread", grader="latex")
    problem, reward = env.read({"question": "", "answer": r"\sqrt{8}"}), RewardConfig({"correct": 1.0, "answered": 1.0})
    text = r"</think> <answer>2\sqrt{2}</answer>"
    assert grade(env, reward, problem, text, 9).correct
    monkeypatch.setattr("math_verify.verify", fail)
    score = grade(env, reward, problem, text, 9)
    assert score.error is not None and "sympy failed" in score.error
    assert (score.reward, score.correct, score.reason) == (0.0, False, "the grader failed")

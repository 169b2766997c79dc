import pytest

from inference.types import Candidate
from inference.voting import answer_key, best, vote, weighted_best


def candidate(text):
    return Candidate(text, (), (), "stop")


def test_votes_by_hand():
    result = vote(["a", None, "b", "b", None])
    assert (result.chosen, result.votes, result.ties, result.silent) == (2, {"a": 1, "b": 2}, [], 2)


def test_a_tie_goes_to_the_first_answer():
    result = vote([None, "b", "a", "a", "b", "c"])
    assert (result.chosen, result.ties) == (1, ["b", "a"])


def test_without_votes_the_first_completion_is_chosen():
    result = vote([None, None])
    assert (result.chosen, result.votes, result.ties, result.silent) == (0, {}, [], 2)


def test_equal_numbers_in_different_notations_are_one_answer():
    texts = [f"<answer>{number}</answer>" for number in ("1,080", "7", "$1080.00", "108/0.1")]
    assert vote([answer_key(candidate(text)) for text in texts]).votes == {"1080": 2, "7": 1, "108/0.1": 1}


@pytest.mark.parametrize(
    "spellings",
    [("$(1,2)$", "(1, 2)", r"\left(1, 2\right)"), ("$x^2+1$", "x^2 + 1"), ("(17 + 1) * 2", "( 17+1 )*2")]
    + [(r"2 \sqrt{3}", r"2\sqrt{3}", r"$2\sqrt {3}$"), ("2π", r"2\pi", r"2 \pi")],
)
def test_spellings_of_the_same_expression_are_one_answer(spellings):
    assert len({answer_key(candidate(f"<answer>{spelling}</answer>")) for spelling in spellings}) == 1


def test_scores_by_hand():
    assert best([0.1, 0.7, 0.7]) == 1
    # a: 0.5 + 0.4 = 0.9, b: 0.8; a completion without an answer has no weight. The best completion of a is at 3.
    assert weighted_best(["b", "a", None, "a"], [0.8, 0.4, 1.0, 0.5]) == (3, {"b": 0.8, "a": 0.9})
    assert weighted_best(["b", "a"], [0.5, 0.5])[0] == 0
    assert weighted_best([None, None], [0.1, 0.2]) == (1, {})
    with pytest.raises(ValueError, match="strategy.weighted=true must be >= 0, got -1"):
        weighted_best(["a"], [-1.0])


@pytest.mark.parametrize(
    ("text", "answer"),
    [("</think> <answer> 1  +\n2 </answer>", "1+2"), ("</think> <answer>  </answer>", None), ("7", None)]
    + [("<answer>1</answer><answer>2</answer>", "2"), ("<answer>" * 9 + "</answer>" * 9, None)]
    + [("<answer>8/2</answer>", "8/2"), ("<answer>$1,080.50</answer>", "2161/2"), ("<answer>16-8</answer>", "16-8")]
    + [(f"<answer>{'1' * 2000}</answer>", None)],
)
def test_answers_are_normalized(text, answer):
    assert answer_key(candidate(text)) == answer

import pytest

from inference.engine import Candidate
from inference.runner import run
from inference.select import answer_key, best, vote, weighted_best
from inference.strategies import BestOfN, Majority, Sample, greedy
from inference.verifiers import Oracle, OwnLogprob
from inference.writing import Decoding
from tests.inference.toy import ScriptedEngine, ToyEngine, problems, right

DECODING = Decoding(max_tokens=40, seed=1)


def outcomes(strategy, count=12, verifier=None, engine=None):
    return [one for _, one in sorted(run(strategy, problems(count), engine or ToyEngine(), verifier))]


def written(text):
    return Candidate(text, (), (), "stop")


def answers(*given):
    return [f"</think> <answer>{one} </answer><eos>" if one else " no<eos>" for one in given]


@pytest.mark.parametrize("n", [1, 2, 8])
def test_best_of_n_by_the_oracle_is_right_when_any_of_the_n_is(n):
    found = outcomes(BestOfN(DECODING, n), 60, Oracle(right))
    samples = outcomes(Sample(DECODING, n), 60)
    hits = [right(problem, outcome.chosen) for problem, outcome in zip(problems(60), found)]
    assert hits == [any(right(p, c) for c in one.candidates) for p, one in zip(problems(60), samples)]
    assert 0 < sum(hits) < 60 or n == 8


def test_majority_of_one_is_a_sample():
    assert [one.chosen for one in outcomes(Majority(DECODING, 1))] == [one.chosen for one in outcomes(Sample(DECODING))]


def test_more_samples_begin_with_the_same_ones():
    few, many = outcomes(Sample(DECODING, 2)), outcomes(BestOfN(DECODING, 6), verifier=OwnLogprob())
    assert [one.candidates for one in few] == [one.candidates[:2] for one in many]


def test_greedy_takes_the_most_likely_token():
    engine = ToyEngine()
    chosen = outcomes(greedy(DECODING), 1)[0].chosen
    for place, token in enumerate(chosen.token_ids):
        table = engine.probabilities(problems(1)[0].prompt, chosen.token_ids[:place], 0)
        assert token == max(table, key=lambda one: table[one])


def test_votes_by_hand():
    result = vote(["a", None, "b", "b", None])
    assert (result.chosen, result.votes, result.ties, result.silent) == (2, {"a": 1, "b": 2}, [], 2)


def test_a_tie_goes_to_the_answer_first_given():
    result = vote([None, "b", "a", "a", "b", "c"])
    assert (result.chosen, result.ties) == (1, ["b", "a"])


def test_without_votes_the_first_completion_is_chosen():
    result = vote([None, None])
    assert (result.chosen, result.votes, result.ties, result.silent) == (0, {}, [], 2)


def test_majority_by_hand():
    engine = ScriptedEngine(answers(" 1", None, " 2", " 2"))
    outcome = outcomes(Majority(DECODING, 4), 1, engine=engine)[0]
    assert outcome.chosen == outcome.candidates[2]
    assert outcome.details == {"votes": {"1": 1, "2": 2}, "ties": [], "silent": 1}


def test_the_same_number_written_in_two_ways_is_one_answer():
    texts = [f"<answer>{number}</answer>" for number in ("1,080", "7", "$1080.00", "108/0.1")]
    assert vote([answer_key(written(text)) for text in texts]).votes == {"1080": 2, "7": 1, "108/0.1": 1}


def test_scores_by_hand():
    assert best([0.1, 0.7, 0.7]) == 1
    # a: 0.5 + 0.4 = 0.9, b: 0.8; the one without an answer has no weight. Of a's the better is at 3.
    assert weighted_best(["b", "a", None, "a"], [0.8, 0.4, 1.0, 0.5]) == (3, {"b": 0.8, "a": 0.9})
    assert weighted_best(["b", "a"], [0.5, 0.5])[0] == 0
    assert weighted_best([None, None], [0.1, 0.2]) == (1, {})
    with pytest.raises(ValueError, match="score must be >= 0 where it weighs votes, got -1"):
        weighted_best(["a"], [-1.0])


def test_weighted_and_plain_best_of_n_by_hand():
    class ByPlace:
        def score(self, items):
            return [0.4, 0.8, 0.5][: len(items)]

    plain = outcomes(BestOfN(DECODING, 3), 1, ByPlace(), ScriptedEngine(answers(" 1", " 2", " 1")))[0]
    weighted = outcomes(BestOfN(DECODING, 3, weighted=True), 1, ByPlace(), ScriptedEngine(answers(" 1", " 2", " 1")))[0]
    assert plain.chosen == plain.candidates[1] and plain.details == {"scores": [0.4, 0.8, 0.5]}
    assert weighted.chosen == weighted.candidates[2] and weighted.details["sums"] == {"1": 0.9, "2": 0.8}


def test_weighted_by_equal_scores_chooses_an_answer_with_the_most_votes():
    class Equal:
        def score(self, items):
            return [1.0] * len(items)

    voted = outcomes(Majority(DECODING, 7), 40)
    weighted = outcomes(BestOfN(DECODING, 7, weighted=True), 40, Equal())
    assert [one.chosen for one in voted] == [one.chosen for one in weighted]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("</think> <answer> 1  +\n2 </answer>", "1 + 2"), ("</think> <answer>  </answer>", None), ("7", None)]
    + [("<answer>1</answer><answer>2</answer>", "2"), ("<answer>" * 9 + "</answer>" * 9, None)]
    + [("<answer>8/2</answer>", "8/2"), ("<answer>$1,080.50</answer>", "2161/2"), ("<answer>16-8</answer>", "16-8")]
    + [(f"<answer>{'1' * 2000}</answer>", None)],
)
def test_the_answer_that_is_written(text, answer):
    assert answer_key(written(text)) == answer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample(DECODING, 0), "n must be >= 1, got 0"),
        (lambda: Majority(Decoding(8, temperature=0.0), 2), "temperature must be > 0 where n > 1, got 0.0"),
        (lambda: BestOfN(DECODING, -1), "n must be >= 1, got -1"),
        (lambda: Decoding(0), "max_tokens must be >= 1, got 0"),
        (lambda: Decoding(8, temperature=-1.0), "temperature must be >= 0, got -1.0"),
        (lambda: Decoding(8, prompt="few"), "prompt must be one of cot, direct, got 'few'"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_strategy_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()

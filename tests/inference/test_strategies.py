import pytest

from inference.decoding import Decoding
from inference.runner import run
from inference.strategies import BeamSearch, BestOfN, BudgetForcing, MajorityVote, Revise, Sample
from inference.verifiers import LogprobVerifier, OracleVerifier
from tests.inference.toy import ScriptedEngine, ToyEngine, grades, outputs, problems, right

DECODING = Decoding(max_tokens=40, seed=1)


def answers(*given):
    return [f"</think> <answer>{one} </answer><eos>" if one else " no<eos>" for one in given]


@pytest.mark.parametrize("n", [1, 2, 8])
def test_best_of_n_with_the_oracle_is_correct_if_any_sample_is(n):
    found = outputs(BestOfN(DECODING, n), 60, OracleVerifier(grades))
    samples = outputs(Sample(DECODING, n), 60)
    hits = [right(problem, output.chosen) for problem, output in zip(problems(60), found)]
    assert hits == [any(right(p, c) for c in one.candidates) for p, one in zip(problems(60), samples)]
    assert 0 < sum(hits) < 60 or n == 8


def test_majority_of_one_equals_a_sample():
    assert [one.chosen for one in outputs(MajorityVote(DECODING, 1))] == [
        one.chosen for one in outputs(Sample(DECODING))
    ]


def test_more_samples_start_with_the_same_samples():
    few, many = outputs(Sample(DECODING, 2)), outputs(BestOfN(DECODING, 6), verifier=LogprobVerifier())
    assert [one.candidates for one in few] == [one.candidates[:2] for one in many]


def test_greedy_takes_the_most_likely_token():
    engine = ToyEngine()
    chosen = outputs(Sample(Decoding(40, 0.0)), 1)[0].chosen
    for index, token in enumerate(chosen.token_ids):
        table = engine.probabilities(problems(1)[0].prompt, chosen.token_ids[:index], 0)
        assert token == max(table, key=lambda one: table[one])


def test_majority_by_hand():
    engine = ScriptedEngine(answers(" 1", None, " 2", " 2"))
    output = outputs(MajorityVote(DECODING, 4), 1, engine=engine)[0]
    assert output.chosen == output.candidates[2]
    assert output.details == {"votes": {"1": 1, "2": 2}, "ties": [], "silent": 1}


def test_weighted_and_plain_best_of_n_by_hand():
    class ByIndex:
        def score(self, items):
            return [0.4, 0.8, 0.5][: len(items)]

    plain = outputs(BestOfN(DECODING, 3), 1, ByIndex(), ScriptedEngine(answers(" 1", " 2", " 1")))[0]
    weighted = outputs(BestOfN(DECODING, 3, weighted=True), 1, ByIndex(), ScriptedEngine(answers(" 1", " 2", " 1")))[0]
    assert plain.chosen == plain.candidates[1] and plain.details == {"scores": [0.4, 0.8, 0.5]}
    assert weighted.chosen == weighted.candidates[2] and weighted.details["sums"] == {"1": 0.9, "2": 0.8}


def test_weighting_by_equal_scores_equals_majority_voting():
    class Equal:
        def score(self, items):
            return [1.0] * len(items)

    voted = outputs(MajorityVote(DECODING, 7), 40)
    weighted = outputs(BestOfN(DECODING, 7, weighted=True), 40, Equal())
    assert [one.chosen for one in voted] == [one.chosen for one in weighted]


@pytest.mark.parametrize("strategy", [Sample, MajorityVote, BestOfN])
def test_several_completions_by_greedy_decoding_are_refused_on_construction(strategy):
    with pytest.raises(ValueError, match="strategy.temperature must be > 0 with strategy.n=2, got 0.0"):
        strategy(Decoding(8, temperature=0.0), 2)


STRATEGIES = {
    "majority": MajorityVote(DECODING, 4),
    "direct": Sample(Decoding(max_tokens=40, prompt="direct")),
    "beam": BeamSearch(DECODING, 4, 2, max_step_tokens=16),
    "waits": BudgetForcing(DECODING, 9),
    "capped": BudgetForcing(DECODING, 9, cap=20),
    "revise": Revise(DECODING, 9),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_request_exceeds_the_context(name):
    """It has room for the longest prompt and max_tokens, forced tokens and waits included."""
    with_a_turn = [problem for problem in problems(90) if "User" in str(problem.prompt)]
    longest = max(len(str(problem.prompt)) for problem in with_a_turn) + 200
    engine = ToyEngine(longest_prompt=longest)
    list(run(STRATEGIES[name], with_a_turn, engine, LogprobVerifier()))
    assert with_a_turn and engine.requests
    for request in engine.requests:
        assert engine.fits(request.prompt)
        assert 0 < request.sampling.max_tokens <= DECODING.max_tokens - len(request.prefix)

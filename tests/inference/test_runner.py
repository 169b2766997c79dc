import random

import pytest

from grpo.types import Request, SamplingParams
from inference.decoding import Decoding
from inference.runner import run
from inference.strategies import BeamSearch, BestOfN, BudgetForcing, MajorityVote, Revise, Sample
from inference.types import Candidate, StrategyOutput
from inference.verifiers import LogprobVerifier, OracleVerifier
from tests.inference.toy import ToyEngine, grades, problems

DECODING = Decoding(max_tokens=40, seed=3)
STRATEGIES = {
    "greedy": Sample(Decoding(40, 0.0)),
    "sample": Sample(DECODING, 3),
    "direct": Sample(Decoding(max_tokens=40, prompt="direct"), 2),
    "majority": MajorityVote(DECODING, 5),
    "best": BestOfN(DECODING, 4),
    "weighted": BestOfN(DECODING, 4, weighted=True),
    "beam": BeamSearch(DECODING, beams=4, expand=2, max_steps=5, max_step_tokens=6),
    "budget": BudgetForcing(DECODING, waits=2, cap=20),
    "revise": Revise(DECODING, rounds=3),
}
EMPTY = Candidate("", (), (), "stop")
each_strategy = pytest.mark.parametrize("name", STRATEGIES)


def suitable(name):
    """The problems whose prompts the strategy supports: revision needs a user turn."""
    return [one for one in problems() if name != "revise" or "p " not in str(one.prompt)[:2]]


def outputs(name, which, **settings):
    engine = settings.pop("engine", None) or ToyEngine()
    verifier = settings.pop("verifier", LogprobVerifier())
    found = dict(run(STRATEGIES[name], which, engine, verifier, **settings))
    return [found[index] for index in range(len(which))]


@each_strategy
def test_outputs_count_all_tokens_that_the_engine_generated(name):
    engine = ToyEngine()
    assert sum(one.tokens for one in outputs(name, suitable(name), engine=engine)) == engine.tokens > 0


@each_strategy
def test_every_candidate_is_finished_and_within_the_token_limit(name):
    for output in outputs(name, suitable(name)):
        assert output.chosen in output.candidates
        for candidate in output.candidates:
            assert not candidate.partial and len(candidate.token_ids) <= DECODING.max_tokens
            assert candidate.text == ToyEngine().decode(candidate.token_ids)
            assert len(candidate.logprobs) == len(candidate.token_ids)
            assert (candidate.finish_reason == "length") <= (len(candidate.token_ids) == DECODING.max_tokens)


@each_strategy
def test_the_output_for_a_problem_does_not_depend_on_the_other_problems(name):
    together = outputs(name, suitable(name))
    assert together == [outputs(name, [problem])[0] for problem in suitable(name)]


@each_strategy
def test_the_order_of_the_problems_does_not_change_the_outputs(name):
    which = suitable(name)
    order = list(range(len(which)))
    random.Random(0).shuffle(order)
    shuffled = outputs(name, [which[index] for index in order])
    in_order = outputs(name, which)
    assert shuffled == [in_order[index] for index in order]


@each_strategy
@pytest.mark.parametrize("cap", [1, 3, 7])
def test_max_requests_bounds_the_batches_and_not_the_outputs(name, cap):
    class CountingVerifier(LogprobVerifier):
        def score(self, items):
            assert 0 < len(items) <= cap
            return super().score(items)

    engine = ToyEngine()
    capped = outputs(name, suitable(name), engine=engine, verifier=CountingVerifier(), max_requests=cap)
    assert capped == outputs(name, suitable(name))
    assert max(engine.batches) <= cap


@each_strategy
def test_equal_seeds_give_equal_outputs_and_other_seeds_differ(name):
    which = suitable(name)
    assert outputs(name, which) == outputs(name, which)
    if name == "greedy":
        return
    strategy = STRATEGIES[name]
    other = type(strategy)(
        **{**vars(strategy), "decoding": Decoding(max_tokens=40, seed=4, prompt=strategy.decoding.prompt)}
    )
    assert dict(run(other, which, ToyEngine(), LogprobVerifier())) != dict(enumerate(outputs(name, which)))


def test_the_problems_of_a_round_share_one_batch():
    engine = ToyEngine()
    outputs("majority", problems(12), engine=engine)
    assert engine.batches == [60]


def test_no_two_requests_share_a_seed():
    engine = ToyEngine()
    outputs("beam", problems(12), engine=engine)
    assert len({request.seed for request in engine.requests}) == len(engine.requests) > 48


def test_a_finished_problem_is_yielded_before_the_next_round():
    # Two of the three problems finish in the first round; the first needs another.
    def strategy(problem, codec):
        for _ in range(1 + (problem.key == "p0")):
            yield [Request(problem.prompt, seed=1, sampling=SamplingParams(1.0, max_tokens=3))]
        return StrategyOutput(EMPTY, (EMPTY,))

    engine = ToyEngine()
    seen = [(index, len(engine.batches)) for index, _ in run(strategy, problems(3), engine)]
    assert seen == [(1, 1), (2, 1), (0, 2)]


def test_a_strategy_without_requests_finishes():
    def strategy(problem, codec):
        return StrategyOutput(EMPTY, (EMPTY,), {"key": problem.key})
        yield

    found = list(run(strategy, problems(3), ToyEngine(), max_requests=1))
    assert [output.details["key"] for _, output in found] == ["p0", "p1", "p2"]
    assert found[0][1].tokens == found[0][1].rounds == 0


def test_without_problems_there_are_no_outputs():
    assert list(run(STRATEGIES["sample"], [], ToyEngine())) == []


def test_at_most_one_waiting_problem_is_started():
    started = []

    def strategy(problem, codec):
        started.append(problem.key)
        return (yield from Sample(DECODING)(problem, codec))

    going = run(strategy, problems(12), ToyEngine(), max_requests=4)
    next(going)
    assert len(started) == 4 + 1


def test_the_cost_of_a_problem_is_counted():
    # One round of four completions, each scored once.
    output = outputs("best", problems(1), verifier=OracleVerifier(grades))[0]
    assert (output.rounds, output.scored) == (1, 4)
    assert output.tokens == sum(len(candidate.token_ids) for candidate in output.candidates)


def test_a_missing_verifier_and_a_nan_score_are_refused():
    with pytest.raises(ValueError, match="needs a verifier, got None"):
        list(run(STRATEGIES["best"], problems(1), ToyEngine()))

    class Broken:
        def score(self, items):
            return [float("nan")] * len(items)

    with pytest.raises(ValueError, match="score for p0 must be a number, got nan"):
        list(run(STRATEGIES["best"], problems(1), ToyEngine(), Broken()))

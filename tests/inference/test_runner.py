import random

import pytest

from inference.beam import Beam
from inference.budget import Budget
from inference.engine import Ask, Candidate, Outcome, seed_of
from inference.revise import Revise
from inference.runner import run
from inference.strategies import BestOfN, Majority, Sample, greedy
from inference.verifiers import Oracle, OwnLogprob
from inference.writing import Decoding
from tests.inference.toy import ToyEngine, problems, right

DECODING = Decoding(max_tokens=40, seed=3)
STRATEGIES = {
    "greedy": greedy(DECODING),
    "sample": Sample(DECODING, 3),
    "direct": Sample(Decoding(max_tokens=40, prompt="direct"), 2),
    "majority": Majority(DECODING, 5),
    "best": BestOfN(DECODING, 4),
    "weighted": BestOfN(DECODING, 4, weighted=True),
    "beam": Beam(DECODING, beams=4, expand=2, max_steps=5, max_step_tokens=6),
    "budget": Budget(DECODING, waits=2, cap=20),
    "revise": Revise(DECODING, rounds=3),
}
EMPTY = Candidate("", (), (), "stop")
each_strategy = pytest.mark.parametrize("name", STRATEGIES)


def worded(name):
    """Problems that the strategy can ask about: revising needs words."""
    return [one for one in problems() if name != "revise" or "p " not in str(one.prompt)[:2]]


def outcomes(name, which, **settings):
    engine = settings.pop("engine", None) or ToyEngine()
    verifier = settings.pop("verifier", OwnLogprob())
    found = dict(run(STRATEGIES[name], which, engine, verifier, **settings))
    return [found[place] for place in range(len(which))]


@each_strategy
def test_the_tokens_spent_are_those_that_the_engine_handed_out(name):
    engine = ToyEngine()
    assert sum(one.tokens for one in outcomes(name, worded(name), engine=engine)) == engine.tokens > 0


@each_strategy
def test_every_candidate_is_whole_and_within_its_limit(name):
    for outcome in outcomes(name, worded(name)):
        assert outcome.chosen in outcome.candidates
        for candidate in outcome.candidates:
            assert not candidate.partial and len(candidate.token_ids) <= DECODING.max_tokens
            assert candidate.text == ToyEngine().decode(candidate.token_ids)
            assert len(candidate.logprobs) == len(candidate.token_ids)
            assert (candidate.finish_reason == "length") <= (len(candidate.token_ids) == DECODING.max_tokens)


@each_strategy
def test_a_problem_fares_the_same_alone_and_in_company(name):
    together = outcomes(name, worded(name))
    assert together == [outcomes(name, [problem])[0] for problem in worded(name)]


@each_strategy
def test_the_order_of_the_problems_changes_nothing(name):
    which = worded(name)
    places = list(range(len(which)))
    random.Random(0).shuffle(places)
    mixed = outcomes(name, [which[place] for place in places])
    in_order = outcomes(name, which)
    assert mixed == [in_order[place] for place in places]


@each_strategy
@pytest.mark.parametrize("cap", [1, 3, 7])
def test_a_cap_on_requests_holds_and_changes_nothing(name, cap):
    class CountingVerifier(OwnLogprob):
        def score(self, items):
            assert 0 < len(items) <= cap
            return super().score(items)

    engine = ToyEngine()
    capped = outcomes(name, worded(name), engine=engine, verifier=CountingVerifier(), max_asks=cap)
    assert capped == outcomes(name, worded(name))
    assert max(engine.batches) <= cap


@each_strategy
def test_a_run_can_be_repeated_and_its_seed_matters(name):
    which = worded(name)
    assert outcomes(name, which) == outcomes(name, which)
    if name == "greedy":
        return
    strategy = STRATEGIES[name]
    other = type(strategy)(
        **{**vars(strategy), "decoding": Decoding(max_tokens=40, seed=4, prompt=strategy.decoding.prompt)}
    )
    assert dict(run(other, which, ToyEngine(), OwnLogprob())) != dict(enumerate(outcomes(name, which)))


def test_all_problems_share_a_batch_each_round():
    engine = ToyEngine()
    outcomes("majority", problems(12), engine=engine)
    assert engine.batches == [60]


def test_no_two_requests_share_a_seed():
    engine = ToyEngine()
    outcomes("beam", problems(12), engine=engine)
    assert len({ask.seed for ask in engine.asked}) == len(engine.asked) > 48


def test_a_finished_problem_is_handed_out_before_the_others_go_on():
    # Two of the three end in the first round; the first needs another.
    def strategy(problem, codec):
        for _ in range(1 + (problem.key == "p0")):
            yield [Ask(problem.prompt, seed=1, max_tokens=3)]
        return Outcome(EMPTY, (EMPTY,))

    engine = ToyEngine()
    seen = [(place, len(engine.batches)) for place, _ in run(strategy, problems(3), engine)]
    assert seen == [(1, 1), (2, 1), (0, 2)]


def test_a_strategy_that_asks_for_nothing_is_finished():
    def strategy(problem, codec):
        return Outcome(EMPTY, (EMPTY,), {"key": problem.key})
        yield

    found = list(run(strategy, problems(3), ToyEngine(), max_asks=1))
    assert [outcome.details["key"] for _, outcome in found] == ["p0", "p1", "p2"]
    assert found[0][1].tokens == found[0][1].rounds == 0


def test_no_problems_are_no_outcomes():
    assert list(run(STRATEGIES["sample"], [], ToyEngine())) == []


def test_waiting_problems_are_begun_one_ahead_at_most():
    begun = []

    def strategy(problem, codec):
        begun.append(problem.key)
        return (yield from Sample(DECODING)(problem, codec))

    going = run(strategy, problems(12), ToyEngine(), max_asks=4)
    next(going)
    assert len(begun) == 4 + 1


def test_what_was_spent_is_counted():
    # One round of four completions, each scored once.
    outcome = outcomes("best", problems(1), verifier=Oracle(right))[0]
    assert (outcome.rounds, outcome.scored) == (1, 4)
    assert outcome.tokens == sum(len(candidate.token_ids) for candidate in outcome.candidates)


def test_errors_are_one_sentence():
    with pytest.raises(ValueError, match="verifier must be given"):
        list(run(STRATEGIES["best"], problems(1), ToyEngine()))
    with pytest.raises(ValueError, match="max_asks must be >= 1, got 0"):
        run(STRATEGIES["best"], problems(1), ToyEngine(), max_asks=0)

    class Broken:
        def score(self, items):
            return [float("nan")] * len(items)

    with pytest.raises(ValueError, match="score for p0 must be a number, got nan"):
        list(run(STRATEGIES["best"], problems(1), ToyEngine(), Broken()))


def test_a_seed_depends_on_all_parts_and_their_borders():
    seeds = {
        seed_of(0, "a", 1, 0),
        seed_of(0, "a", 0, 1),
        seed_of(1, "a", 0, 0),
        seed_of(0, "a/1", 0),
        seed_of(0, "a", 10),
    }
    assert len(seeds) == 5 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "a", 1, 0) == seed_of(0, "a", 1, 0)
    seed_of("\ud800")

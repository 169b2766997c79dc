import pytest

from inference.decoding import Decoding
from inference.runner import run
from inference.strategies import Revise
from tests.inference.toy import ScriptedEngine, problems

DECODING = Decoding(max_tokens=40)
ONE, TWO, NONE = " so</think> <answer> 1 </answer><eos>", "</think> <answer> 2 </answer><eos>", " no<eos>"


def revised(rounds, *pieces):
    engine = ScriptedEngine(pieces)
    [(_, output)] = run(Revise(DECODING, rounds), problems(1), engine)
    assert engine.pieces == []
    return output, engine.requests


def test_revision_ends_when_the_answer_stays_the_same():
    output, requests = revised(9, ONE, TWO, TWO)
    assert output.details == {"answers": ["1", "2", "2"], "unchanged": True, "too_long": False}
    assert output.chosen == output.candidates[2] and output.rounds == 3
    assert "may be wrong: 1\n" in requests[1].prompt.user and "may be wrong: 2\n" in requests[2].prompt.user
    assert "may be wrong: 1\n" not in requests[2].prompt.user


def test_revision_ends_after_its_rounds():
    output, requests = revised(2, ONE, TWO, ONE)
    assert output.details["unchanged"] is False and output.chosen.text.startswith(" so")
    assert len({request.seed for request in requests}) == 3 and all(request.prefix == () for request in requests)


def test_without_an_answer_the_original_prompt_is_used():
    output, requests = revised(2, NONE, NONE, ONE)
    assert [request.prompt for request in requests] == [problems(1)[0].prompt] * 3
    assert output.details["answers"] == [None, None, "1"] and output.chosen == output.candidates[2]


def test_the_last_answer_is_chosen():
    output, _ = revised(1, ONE, NONE)
    assert output.chosen == output.candidates[0]
    output, _ = revised(1, NONE, NONE)
    assert output.chosen == output.candidates[1]


def test_a_prompt_without_a_user_turn_is_refused_before_generation():
    engine = ScriptedEngine([])
    with pytest.raises(ValueError, match="env.prompt_style must be base or chat"):
        list(run(Revise(DECODING, 1), [problems(3)[2]], engine))
    with pytest.raises(ValueError, match="strategy.rounds must be >= 1, got 0"):
        Revise(DECODING, 0)


def test_a_prompt_that_is_too_long_ends_the_revision_and_is_recorded():
    engine = ScriptedEngine([ONE, TWO])
    engine.longest_prompt = len(str(problems(1)[0].prompt)) + 20
    [(_, output)] = run(Revise(DECODING, 3), problems(1), engine)
    assert output.details == {"answers": ["1"], "unchanged": False, "too_long": True}
    assert output.chosen == output.candidates[0] and len(engine.requests) == 1

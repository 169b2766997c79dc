import pytest

from inference.revise import Revise
from inference.runner import run
from inference.writing import Decoding
from tests.inference.toy import ScriptedEngine, problems

DECODING = Decoding(max_tokens=40)
ONE, TWO, NONE = " so</think> <answer> 1 </answer><eos>", "</think> <answer> 2 </answer><eos>", " no<eos>"


def revised(rounds, *pieces):
    engine = ScriptedEngine(pieces)
    [(_, outcome)] = run(Revise(DECODING, rounds), problems(1), engine)
    assert engine.pieces == []
    return outcome, engine.asked


def test_it_ends_when_the_answer_stays():
    outcome, asked = revised(9, ONE, TWO, TWO)
    assert outcome.details == {"answers": ["1", "2", "2"], "unchanged": True}
    assert outcome.chosen == outcome.candidates[2] and outcome.rounds == 3
    assert "may be wrong: 1\n" in asked[1].prompt.user and "may be wrong: 2\n" in asked[2].prompt.user
    assert "may be wrong: 1\n" not in asked[2].prompt.user


def test_it_ends_with_its_rounds():
    outcome, asked = revised(2, ONE, TWO, ONE)
    assert outcome.details["unchanged"] is False and outcome.chosen.text.startswith(" so")
    assert len({ask.seed for ask in asked}) == 3 and all(ask.written == () for ask in asked)


def test_without_an_answer_the_question_is_asked_anew():
    outcome, asked = revised(2, NONE, NONE, ONE)
    assert [ask.prompt for ask in asked] == [problems(1)[0].prompt] * 3
    assert outcome.details["answers"] == [None, None, "1"] and outcome.chosen == outcome.candidates[2]


def test_the_last_answer_given_is_chosen():
    outcome, _ = revised(1, ONE, NONE)
    assert outcome.chosen == outcome.candidates[0]
    outcome, _ = revised(1, NONE, NONE)
    assert outcome.chosen == outcome.candidates[1]


def test_a_prompt_without_words_is_refused_before_any_work():
    engine = ScriptedEngine([])
    with pytest.raises(ValueError, match="env.prompt_style must be base or chat"):
        list(run(Revise(DECODING, 1), [problems(3)[2]], engine))
    with pytest.raises(ValueError, match="rounds must be >= 1, got 0"):
        Revise(DECODING, 0)

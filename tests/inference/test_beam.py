import pytest

from inference.beam import Beam
from inference.runner import run
from inference.strategies import BestOfN, greedy
from inference.verifiers import Oracle, OwnLogprob
from inference.writing import Decoding
from tests.inference.toy import ScriptedEngine, ToyEngine, problems, right

DECODING = Decoding(max_tokens=40)
COLD = Decoding(max_tokens=40, temperature=0.0)


def outcomes(strategy, count=12, verifier=None, engine=None):
    return [one for _, one in sorted(run(strategy, problems(count), engine or ToyEngine(), verifier or OwnLogprob()))]


class ByText:
    """Scores by the last piece of the text."""

    def __init__(self, scores):
        self.scores = scores

    def score(self, items):
        return [next(v for k, v in self.scores.items() if one.text.endswith(k)) for _, one in items]


@pytest.mark.parametrize("window", [10_000, 17])
@pytest.mark.parametrize(("steps", "most"), [(1, 9), (3, 2), (100, 1), (100, 3), (4, 100)])
def test_one_beam_at_temperature_zero_is_greedy_token_for_token(steps, most, window):
    beam = Beam(COLD, beams=1, expand=1, max_steps=steps, max_step_tokens=most)
    for seed in range(4):
        found = outcomes(beam, engine=ToyEngine(seed, window))
        assert [one.chosen for one in found] == [
            one.chosen for one in outcomes(greedy(DECODING), engine=ToyEngine(seed, window))
        ]


def test_one_step_is_best_of_n():
    beam = outcomes(Beam(DECODING, beams=4, expand=2, max_steps=1), verifier=Oracle(right))
    plain = outcomes(BestOfN(DECODING, 4), verifier=Oracle(right))
    assert [(one.chosen, one.candidates) for one in beam] == [(one.chosen, one.candidates) for one in plain]


def test_a_search_by_hand():
    # Four first steps; the best two, " 2" and " 1", go on twice each. One of the four ends wrong, one right.
    first = [" no\n", " 1\n", " 2\n", " so\n"]
    then = [" </answer><eos>", " so\n", " no\n", "!<eos>"]
    last = [" no<eos>", " no<eos>", " no<eos>", " no<eos>"]
    engine = ScriptedEngine(first + then + last)
    verifier = ByText({" 2\n": 0.9, " 1\n": 0.8, " so\n": 0.3, " no\n": 0.1, " </answer>": 0.2, "!": 0.7, " no": 0.4})
    outcome = outcomes(Beam(DECODING, beams=4, expand=2, max_steps=3), 1, verifier, engine)[0]
    assert [ask.written for ask in engine.asked[4:8]] == [engine.encode(" 2\n")] * 2 + [engine.encode(" 1\n")] * 2
    # The search goes on with " 2\n so\n" and " 1\n no\n", the only two that are left.
    assert [engine.decode(ask.written) for ask in engine.asked[8:]] == [" 2\n so\n"] * 2 + [" 1\n no\n"] * 2
    assert outcome.chosen.text == " 1\n!"
    assert outcome.details == {"scores": [0.2, 0.7, 0.4, 0.4, 0.4, 0.4], "steps": 3}
    assert (outcome.rounds, outcome.scored) == (3, 12)
    assert len(outcome.candidates) == 6


def test_the_search_ends_with_as_many_whole_completions_as_beams():
    engine = ScriptedEngine([" 1<eos>", " 2<eos>", " so\n", " 3<eos>", " 1<eos>", " 2<eos>"])
    verifier = ByText({" 1": 0.5, " 2": 0.6, " 3": 0.1, " so\n": 0.9})
    outcome = outcomes(Beam(DECODING, beams=3, expand=3), 1, verifier, engine)[0]
    assert outcome.chosen.text == " 2" and len(outcome.candidates) == 2 + 3
    engine = ScriptedEngine([" so\n", " 2<eos>", " 1\n", " 3<eos>", " 1<eos>", " 2\n"])
    outcome = outcomes(Beam(DECODING, beams=3, expand=3), 1, ByText(verifier.scores | {"\n": 0}), engine)[0]
    assert len(outcome.candidates) == 3 and outcome.details["steps"] == 2


def test_a_step_ends_at_a_line_or_after_its_tokens():
    beam = Beam(DECODING, beams=2, expand=1, max_steps=4, max_step_tokens=5)
    engine = ToyEngine()
    outcomes(beam, engine=engine)
    steps = [ask for ask in engine.asked if ask.stop]
    assert steps and all(ask.stop == ("\n",) and ask.max_tokens <= 5 for ask in steps)
    assert all(ask.max_tokens + len(ask.written) == 40 for ask in engine.asked if not ask.stop)


def test_a_verifier_that_knows_helps():
    alone = sum(right(p, one.chosen) for p, one in zip(problems(90), outcomes(Beam(DECODING, 1, 1), 90)))
    led = outcomes(Beam(DECODING, 8, 2), 90, Oracle(right))
    assert sum(right(p, one.chosen) for p, one in zip(problems(90), led)) > alone + 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0, "expand": 1}, "beams must be >= 1, got 0"),
        ({"beams": 4, "expand": 3}, "expand must be a divisor of beams=4, got 3"),
        ({"beams": 4, "expand": 0}, "expand must be a divisor of beams=4, got 0"),
        ({"beams": 4, "expand": 2, "max_steps": 0}, "max_steps must be >= 1, got 0"),
        ({"beams": 4, "expand": 2, "max_step_tokens": 0}, "max_step_tokens must be >= 1, got 0"),
        ({"beams": 4, "expand": 2, "step_end": ""}, "step_end must be one character or more, got ''"),
        ({"beams": 4, "expand": 2, "decoding": COLD}, "temperature must be > 0 where beams > 1, got 0.0"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Beam(**{"decoding": DECODING, **settings})

import pytest

from inference.decoding import Decoding
from inference.strategies import BeamSearch, BestOfN, Sample
from inference.verifiers import OracleVerifier
from tests.inference.toy import ScriptedEngine, ToyEngine, grades, outputs, problems, right

DECODING = Decoding(max_tokens=40)
GREEDY = Decoding(max_tokens=40, temperature=0.0)


class ByText:
    """Scores a candidate by the end of its text."""

    def __init__(self, scores):
        self.scores = scores

    def score(self, items):
        return [next(v for k, v in self.scores.items() if one.text.endswith(k)) for _, one in items]


@pytest.mark.parametrize("window", [10_000, 17])
@pytest.mark.parametrize(("steps", "step_tokens"), [(1, 9), (3, 2), (100, 1), (100, 3), (4, 100)])
def test_one_beam_at_temperature_zero_equals_greedy_decoding(steps, step_tokens, window):
    beam = BeamSearch(GREEDY, beams=1, expand=1, max_steps=steps, max_step_tokens=step_tokens)
    for seed in range(4):
        found = outputs(beam, engine=ToyEngine(seed, window))
        assert [one.chosen for one in found] == [
            one.chosen for one in outputs(Sample(GREEDY), engine=ToyEngine(seed, window))
        ]


def test_one_step_equals_best_of_n():
    beam = outputs(BeamSearch(DECODING, beams=4, expand=2, max_steps=1), verifier=OracleVerifier(grades))
    plain = outputs(BestOfN(DECODING, 4), verifier=OracleVerifier(grades))
    assert [(one.chosen, one.candidates) for one in beam] == [(one.chosen, one.candidates) for one in plain]


def test_search_by_hand():
    # Four first steps. The best two, " 2" and " 1", are continued twice each; two of these four completions finish.
    first = [" no\n", " 1\n", " 2\n", " so\n"]
    then = [" </answer><eos>", " so\n", " no\n", "!<eos>"]
    last = [" no<eos>", " no<eos>", " no<eos>", " no<eos>"]
    engine = ScriptedEngine(first + then + last)
    verifier = ByText({" 2\n": 0.9, " 1\n": 0.8, " so\n": 0.3, " no\n": 0.1, " </answer>": 0.2, "!": 0.7, " no": 0.4})
    output = outputs(BeamSearch(DECODING, beams=4, expand=2, max_steps=3), 1, verifier, engine)[0]
    assert [request.prefix for request in engine.requests[4:8]] == [engine.encode(" 2\n")] * 2 + [
        engine.encode(" 1\n")
    ] * 2
    # The search continues with the remaining two, " 2\n so\n" and " 1\n no\n".
    assert [engine.decode(request.prefix) for request in engine.requests[8:]] == [" 2\n so\n"] * 2 + [" 1\n no\n"] * 2
    assert output.chosen.text == " 1\n!"
    assert output.details == {"scores": [0.2, 0.7, 0.4, 0.4, 0.4, 0.4], "steps": 3}
    assert (output.rounds, output.scored) == (3, 12)
    assert len(output.candidates) == 6


def test_search_ends_when_as_many_completions_as_beams_are_finished():
    engine = ScriptedEngine([" 1<eos>", " 2<eos>", " so\n", " 3<eos>", " 1<eos>", " 2<eos>"])
    verifier = ByText({" 1": 0.5, " 2": 0.6, " 3": 0.1, " so\n": 0.9})
    output = outputs(BeamSearch(DECODING, beams=3, expand=3), 1, verifier, engine)[0]
    assert output.chosen.text == " 2" and len(output.candidates) == 2 + 3
    engine = ScriptedEngine([" so\n", " 2<eos>", " 1\n", " 3<eos>", " 1<eos>", " 2\n"])
    output = outputs(BeamSearch(DECODING, beams=3, expand=3), 1, ByText(verifier.scores | {"\n": 0}), engine)[0]
    assert len(output.candidates) == 3 and output.details["steps"] == 2


def test_a_step_ends_at_a_line_break_or_at_its_token_limit():
    beam = BeamSearch(DECODING, beams=2, expand=1, max_steps=4, max_step_tokens=5)
    engine = ToyEngine()
    outputs(beam, engine=engine)
    steps = [request for request in engine.requests if request.sampling.stop]
    assert steps and all(request.sampling.stop == ("\n",) and request.sampling.max_tokens <= 5 for request in steps)
    assert all(
        request.sampling.max_tokens + len(request.prefix) == 40
        for request in engine.requests
        if not request.sampling.stop
    )


def test_the_oracle_improves_accuracy():
    baseline = sum(right(p, one.chosen) for p, one in zip(problems(90), outputs(BeamSearch(DECODING, 1, 1), 90)))
    guided = outputs(BeamSearch(DECODING, 8, 2), 90, OracleVerifier(grades))
    assert sum(right(p, one.chosen) for p, one in zip(problems(90), guided)) > baseline + 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0, "expand": 1}, "strategy.beams must be >= 1, got 0"),
        ({"beams": 4, "expand": 3}, "strategy.expand must be a divisor of strategy.beams=4, got 3"),
        ({"beams": 4, "expand": 0}, "strategy.expand must be a divisor of strategy.beams=4, got 0"),
        ({"beams": 4, "expand": 2, "max_steps": 0}, "max_steps must be >= 1, got 0"),
        ({"beams": 4, "expand": 2, "max_step_tokens": 0}, "strategy.max_step_tokens must be >= 1, got 0"),
        (
            {"beams": 4, "expand": 2, "decoding": GREEDY},
            "strategy.temperature must be > 0 with strategy.beams=4, got 0.0",
        ),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(**{"decoding": DECODING, **settings})

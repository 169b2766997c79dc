import pytest

from inference.decoding import Decoding
from inference.strategies import THINK_END, BudgetForcing, Sample
from tests.inference.toy import END_ID, ScriptedEngine, ToyEngine, outputs

DECODING = Decoding(max_tokens=40)


def written(strategy, *pieces):
    engine = ScriptedEngine(pieces)
    output = outputs(strategy, 1, engine=engine)[0]
    assert engine.pieces == []
    return output


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_without_waits_and_cap_it_equals_plain_sampling(temperature):
    decoding = Decoding(max_tokens=40, temperature=temperature)
    budget, plain = outputs(BudgetForcing(decoding, 0), 30), outputs(Sample(decoding), 30)
    assert [(one.chosen, one.tokens) for one in budget] == [(one.chosen, one.tokens) for one in plain]


@pytest.mark.parametrize("end", ["</think>", "</think> <answer>", ".\n\n so</think>", "!</think>", "</think>\n<"])
def test_the_end_of_the_reasoning_is_replaced_by_a_wait(end):
    before, _, _ = end.partition(THINK_END)
    output = written(BudgetForcing(DECODING, 1), f" 1 no{end}", " so</think> <answer> 2 </answer><eos>")
    assert output.chosen.text == f" 1 no{before}Wait so</think> <answer> 2 </answer>"
    assert output.details["waits"] == 1 and output.chosen.finish_reason == "stop"


def test_the_end_of_sequence_token_is_replaced_by_a_wait():
    output = written(BudgetForcing(DECODING, 2), " 1<eos>", " 2</think>", " 3<eos>")
    assert output.chosen.text == " 1Wait 2Wait 3" and output.chosen.token_ids.count(END_ID) == 1
    # Generated: " 1", eos, " 2", "</think>", " 3", eos; 2 of them are removed, and 2 waits are inserted.
    assert (output.tokens, output.details["forced"], output.rounds) == (6, 2, 3)
    assert len(output.chosen.token_ids) == 6 and output.chosen.logprob == -0.5 * 4


def test_at_the_cap_the_reasoning_is_ended_and_the_answer_opened():
    output = written(BudgetForcing(DECODING, 0, cap=3), " 1 2 3 1 2", " 2 </answer><eos>")
    assert output.chosen.text == " 1 2 3\n</think> <answer> 2 </answer>"
    assert output.details == {"waits": 0, "capped": True, "forced": 3}
    assert output.tokens == 3 + 3


def test_no_second_line_break_is_forced():
    assert written(BudgetForcing(DECODING, 0, cap=2), " 1\n so", " 2<eos>").chosen.text == " 1\n</think> <answer> 2"


def test_reasoning_below_the_cap_is_unchanged():
    output = written(BudgetForcing(DECODING, 0, cap=9), " 1</think>", " <answer> 2 </answer><eos>")
    assert output.chosen.text == " 1</think> <answer> 2 </answer>"
    assert output.details == {"waits": 0, "capped": False, "forced": 0}


def test_a_wait_that_would_reach_the_cap_is_omitted():
    # " 1 2" and the wait are 3 tokens, and the cap is 3.
    output = written(BudgetForcing(DECODING, 5, cap=3), " 1 2</think>", " <answer> 2<eos>")
    assert output.chosen.text == " 1 2</think> <answer> 2" and output.details["waits"] == 0


def test_waits_stop_at_the_cap():
    output = written(BudgetForcing(DECODING, 5, cap=6), " 1</think>", " 2</think>", " 3 3", " 1<eos>")
    assert output.chosen.text == " 1Wait 2Wait 3 3\n</think> <answer> 1"
    assert output.details == {"waits": 2, "capped": True, "forced": 5}


def test_an_empty_wait_samples_again():
    output = written(BudgetForcing(DECODING, 1, wait=""), " 1</think>", " 2</think> <answer> 3<eos>")
    assert output.chosen.text == " 1 2</think> <answer> 3" and output.details["forced"] == 0


@pytest.mark.parametrize(
    "thought",
    ["</think>", "</th</think>", " <answer> 1 </answer></think>", "<think></think>", "</answer></th</answer></think>"],
)
def test_hostile_reasoning_is_cut_at_its_first_end_tag(thought):
    class Hostile(ScriptedEngine):
        def encode(self, text):  # one token per character
            return tuple(1000 + ord(letter) for letter in text)

        def decode(self, token_ids):
            return "".join(chr(token - 1000) for token in token_ids if token >= 1000)

    engine = Hostile([thought, "!<eos>"])
    output = outputs(BudgetForcing(Decoding(max_tokens=200), 1), 1, engine=engine)[0]
    assert output.chosen.text == thought.removesuffix(THINK_END) + "Wait!"


@pytest.mark.parametrize("seed", range(5))
def test_the_cap_holds_for_any_text(seed):
    engine = ToyEngine(seed)
    for output in outputs(BudgetForcing(DECODING, 3, cap=15), 60, engine=engine):
        chosen = output.chosen
        thought = chosen.text.partition(THINK_END)[0]
        # The line break of the forced end is not counted by the cap.
        assert len(engine.encode(thought)) <= 15 + output.details["capped"] and len(chosen.token_ids) <= 40
        assert output.details["waits"] <= 3
        assert output.tokens >= len(chosen.token_ids) - chosen.forced_tokens
        if output.details["capped"]:
            assert f"{THINK_END} <answer>" in chosen.text


def test_the_model_context_limit_ends_the_completion():
    for output in outputs(BudgetForcing(DECODING, 3, cap=15), 20, engine=ToyEngine(window=10)):
        assert len(output.chosen.token_ids) <= 10 and not output.chosen.partial


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"waits": -1}, "strategy.waits must be >= 0, got -1"),
        ({"waits": 0, "cap": 0}, r"strategy.cap must be null or in 1..39, below model.max_completion_tokens=40, got 0"),
        (
            {"waits": 0, "cap": 40},
            r"strategy.cap must be null or in 1..39, below model.max_completion_tokens=40, got 40",
        ),
        ({"waits": 1, "wait": "</think>"}, "strategy.wait must not contain </think>"),
        (
            {"waits": 1, "wait": "", "decoding": Decoding(40, 0.0)},
            "strategy.wait must not be empty with strategy.temperature=0, got ''",
        ),
        (
            {"waits": 1, "decoding": Decoding(40, prompt="direct")},
            "strategy.prompt must be cot for strategy=budget, got direct",
        ),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BudgetForcing(**{"decoding": DECODING, **settings})


def test_texts_outside_the_vocabulary_are_refused_before_generation():
    engine = ToyEngine()
    with pytest.raises(
        ValueError, match="strategy.wait must be a text that the model's vocabulary can spell, got 'Well'"
    ):
        outputs(BudgetForcing(DECODING, 1, wait="Well"), 3, engine=engine)
    with pytest.raises(ValueError, match="strategy.cap must be <= 36 to leave room for an answer within .*=40, got 37"):
        outputs(BudgetForcing(DECODING, 1, cap=37), 3, engine=engine)
    assert engine.batches == []

import pytest

from inference.budget import END as THINK_END
from inference.budget import Budget
from inference.runner import run
from inference.strategies import Sample
from inference.writing import Decoding, pen_for
from tests.inference.toy import END_ID, ScriptedEngine, ToyEngine, problems

DECODING = Decoding(max_tokens=40)


def outcomes(strategy, count=12, engine=None):
    return [one for _, one in sorted(run(strategy, problems(count), engine or ToyEngine()))]


def written(strategy, *pieces):
    engine = ScriptedEngine(pieces)
    outcome = outcomes(strategy, 1, engine)[0]
    assert engine.pieces == []
    return outcome


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_without_waits_and_cap_it_is_plain_sampling(temperature):
    decoding = Decoding(max_tokens=40, temperature=temperature)
    budget, plain = outcomes(Budget(decoding, 0), 30), outcomes(Sample(decoding), 30)
    assert [(one.chosen, one.tokens) for one in budget] == [(one.chosen, one.tokens) for one in plain]


@pytest.mark.parametrize("end", ["</think>", "</think> <answer>", ".\n\n so</think>", "!</think>", "</think>\n<"])
def test_the_end_of_the_thought_is_replaced_by_a_wait(end):
    before, _, _ = end.partition(THINK_END)
    outcome = written(Budget(DECODING, 1), f" 1 no{end}", " so</think> <answer> 2 </answer><eos>")
    assert outcome.chosen.text == f" 1 no{before}Wait so</think> <answer> 2 </answer>"
    assert outcome.details["waits"] == 1 and outcome.chosen.finish_reason == "stop"


def test_the_end_token_is_replaced_too():
    outcome = written(Budget(DECODING, 2), " 1<eos>", " 2</think>", " 3<eos>")
    assert outcome.chosen.text == " 1Wait 2Wait 3" and outcome.chosen.token_ids.count(END_ID) == 1
    # " 1", eos, " 2", "</think>", " 3", eos were generated; 2 of them thrown away, 2 waits put in.
    assert (outcome.tokens, outcome.details["forced"], outcome.rounds) == (6, 2, 3)
    assert len(outcome.chosen.token_ids) == 6 and outcome.chosen.logprob == -0.5 * 4


def test_at_the_cap_the_thought_is_ended_and_the_answer_opened():
    outcome = written(Budget(DECODING, 0, cap=3), " 1 2 3 1 2", " 2 </answer><eos>")
    assert outcome.chosen.text == " 1 2 3\n</think> <answer> 2 </answer>"
    assert outcome.details == {"waits": 0, "capped": True, "forced": 3}
    assert outcome.tokens == 3 + 3


def test_a_line_is_ended_once():
    assert written(Budget(DECODING, 0, cap=2), " 1\n so", " 2<eos>").chosen.text == " 1\n</think> <answer> 2"


def test_a_thought_below_the_cap_is_left_alone():
    outcome = written(Budget(DECODING, 0, cap=9), " 1</think>", " <answer> 2 </answer><eos>")
    assert outcome.chosen.text == " 1</think> <answer> 2 </answer>"
    assert outcome.details == {"waits": 0, "capped": False, "forced": 0}


def test_a_wait_that_would_reach_the_cap_is_left_out():
    # " 1 2" and the wait are 3 tokens of a cap of 3.
    outcome = written(Budget(DECODING, 5, cap=3), " 1 2</think>", " <answer> 2<eos>")
    assert outcome.chosen.text == " 1 2</think> <answer> 2" and outcome.details["waits"] == 0


def test_waits_end_at_the_cap():
    outcome = written(Budget(DECODING, 5, cap=6), " 1</think>", " 2</think>", " 3 3", " 1<eos>")
    assert outcome.chosen.text == " 1Wait 2Wait 3 3\n</think> <answer> 1"
    assert outcome.details == {"waits": 2, "capped": True, "forced": 5}


def test_an_empty_wait_tries_once_more():
    outcome = written(Budget(DECODING, 1, wait=""), " 1</think>", " 2</think> <answer> 3<eos>")
    assert outcome.chosen.text == " 1 2</think> <answer> 3" and outcome.details["forced"] == 0


def test_a_tag_spelt_by_pieces_is_cut_before_its_first_token():
    pen = pen_for(problems(1)[0], DECODING, engine := ToyEngine())
    draft = pen.force(pen.force(pen.blank, " 1</th"), "ink>\n<")
    kept, rest = pen.cut(draft, THINK_END)
    assert (kept.text, rest) == (" 1", "") and kept.token_ids == engine.encode(" 1")


def test_a_token_on_both_sides_of_the_tag_gives_back_what_it_has_before():
    class Merged(ToyEngine):
        def decode(self, token_ids):
            return "".join(
                " no!</think>\n" if token == 99 else super(Merged, self).decode([token]) for token in token_ids
            )

    pen = pen_for(problems(1)[0], DECODING, Merged())
    draft = pen._candidate((*Merged().encode(" 1"), 99), (-0.5, -0.5), None)
    kept, rest = pen.cut(draft, THINK_END)
    assert (kept.text, rest, kept.logprobs) == (" 1", " no!", (-0.5,))
    assert pen.force(kept, rest + "Wait").text == " 1 no!Wait"


@pytest.mark.parametrize(
    "thought",
    ["</think>", "</th</think>", " <answer> 1 </answer></think>", "<think></think>", "</answer></th</answer></think>"],
)
def test_hostile_thoughts_are_cut_at_their_first_end(thought):
    class Hostile(ScriptedEngine):
        def encode(self, text):  # one token a character
            return tuple(1000 + ord(letter) for letter in text)

        def decode(self, token_ids):
            return "".join(chr(token - 1000) for token in token_ids if token >= 1000)

    engine = Hostile([thought, "!<eos>"])
    outcome = outcomes(Budget(Decoding(max_tokens=200), 1), 1, engine)[0]
    assert outcome.chosen.text == thought.removesuffix(THINK_END) + "Wait!"


@pytest.mark.parametrize("seed", range(5))
def test_budgets_hold_on_any_text(seed):
    engine = ToyEngine(seed)
    for outcome in outcomes(Budget(DECODING, 3, cap=15), 60, engine):
        chosen = outcome.chosen
        thought = chosen.text.partition(THINK_END)[0]
        # The line break of the forced ending may come on top.
        assert len(engine.encode(thought)) <= 15 + outcome.details["capped"] and len(chosen.token_ids) <= 40
        assert outcome.details["waits"] <= 3
        assert outcome.tokens >= len(chosen.token_ids) - chosen.forced
        if outcome.details["capped"]:
            assert f"{THINK_END} <answer>" in chosen.text


def test_the_model_s_own_limit_ends_it():
    for outcome in outcomes(Budget(DECODING, 3, cap=15), 20, ToyEngine(window=10)):
        assert len(outcome.chosen.token_ids) <= 10 and not outcome.chosen.partial


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"waits": -1}, "waits must be >= 0, got -1"),
        ({"waits": 0, "cap": 0}, r"cap must be null or 1..max_tokens - 1 = 39, got 0"),
        ({"waits": 0, "cap": 40}, r"cap must be null or 1..max_tokens - 1 = 39, got 40"),
        ({"waits": 1, "wait": "</think>"}, "wait must be a text without </think>"),
        ({"waits": 1, "wait": "", "decoding": Decoding(40, 0.0)}, "wait must be a text where temperature is 0, got ''"),
        ({"waits": 1, "decoding": Decoding(40, prompt="direct")}, "prompt must be cot where .* got 'direct'"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Budget(**{"decoding": DECODING, **settings})


def test_what_the_vocabulary_cannot_do_is_refused_before_any_work():
    engine = ToyEngine()
    with pytest.raises(ValueError, match="wait must be a text that the model's vocabulary can spell, got 'Well'"):
        outcomes(Budget(DECODING, 1, wait="Well"), 3, engine)
    with pytest.raises(ValueError, match="cap must be <= 36, which leaves room in max_tokens=40 for an answer, got 37"):
        outcomes(Budget(DECODING, 1, cap=37), 3, engine)
    assert engine.batches == []

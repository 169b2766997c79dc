import pytest

from conf.pipelines import StageConfig
from pipelines.graph import ordered, sources, with_evaluations


def rl(model, **more):
    return StageConfig("rl", model, **more)


def test_a_stage_follows_those_it_takes_weights_data_or_numbers_from():
    stages = {
        "d": rl("base", overrides=["num_tokens={c.tokens}"]),
        "c": StageConfig("sft", "base", {"b": None}),
        "b": StageConfig("traces", "a", overrides=["samples={e}"]),
        "a": rl("base"),
        "e": StageConfig("traces", "base"),
    }
    assert list(ordered(stages)) == ["a", "e", "b", "c", "d"]
    assert sources(stages, "b") == ["a", "e"] and sources(stages, "d") == ["c"]


def test_independent_stages_keep_their_order():
    assert list(ordered({"z": rl("base"), "a": rl("base"), "m": rl("base")})) == ["z", "a", "m"]


def test_stages_that_need_each_other_are_refused_by_name():
    stages = {"x": rl("base"), "a": rl("c"), "b": rl("a"), "c": rl("b")}
    with pytest.raises(ValueError, match="stages: a -> c -> b -> a need each other"):
        ordered(stages)


def test_every_model_is_evaluated_right_after_its_stage_and_the_given_ones_first():
    stages = {
        "rows": StageConfig("traces", "teacher"),
        "tuned": StageConfig("sft", "base", {"rows": None}, arm="x"),
        "own": StageConfig("evaluate", "more", overrides=["strategy=greedy"]),
        "more": rl("tuned"),
    }
    found = with_evaluations(stages)
    assert list(found) == ["evaluate_base", "evaluate_teacher", "rows", "tuned", "evaluate_tuned", "more", "own"]
    assert found["evaluate_tuned"] == StageConfig("evaluate", "tuned", arm="x")

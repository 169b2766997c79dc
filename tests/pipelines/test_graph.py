import pytest

from conf.pipelines import StageConfig
from pipelines.graph import ordered, road_to, selected, sources, with_evaluations


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


def test_a_model_of_a_file_is_evaluated_after_the_base_and_the_teacher():
    stages = {
        "a": rl("tiny-direct"),
        "b": rl("base"),
        "own": StageConfig("evaluate", "tiny"),
        "c": rl("tiny"),
    }
    expected = ["evaluate_base", "evaluate_tiny_direct", "a", "evaluate_a", "b", "evaluate_b", "own", "c", "evaluate_c"]
    assert list(with_evaluations(stages)) == expected


def test_the_named_stages_are_selected_with_all_that_they_need():
    stages = with_evaluations(
        {
            "a": rl("base"),
            "b": StageConfig("traces", "a"),
            "c": StageConfig("sft", "base", {"b": None}),
            "d": rl("base", overrides=["num_tokens={c.tokens}"]),
        }
    )
    assert list(selected(stages, ["evaluate_d"])) == ["a", "b", "c", "d", "evaluate_d"]
    assert list(selected(stages, ["evaluate_base", "b"])) == ["evaluate_base", "a", "b"]
    assert selected(stages, []) == stages
    assert road_to(stages, "c") == {"a", "b", "c"} and road_to(stages, "d") == {"d"}  # of c it takes a number alone
    with pytest.raises(ValueError, match="only=e: there is no such stage; stages are evaluate_base, a, "):
        selected(stages, ["e"])

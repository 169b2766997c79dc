from pathlib import Path

import pytest

from conf.compose import compose_pipeline
from conf.pipelines import StageConfig
from pipelines.commands import Known, Pipeline, check_commands, stage_settings
from tests.made_pipeline import small_pipeline

KNOWN = Known({"zero": Path("outputs/small/zero/checkpoints/step_000002/hf")}, {"zero": {"tokens": 512, "usd": 0.5}})


def test_the_commands_of_the_four_kinds():
    pipeline = small_pipeline(seed=3, overrides={"evaluate": ["strategy=majority"], "all": ["topology=cpu"]})
    weights = ["model.path=outputs/small/zero/checkpoints/step_000002/hf", "model.local_path=null"]
    given = ["model=tiny", "env=countdown", "seed=3"]
    assert pipeline.command("zero", KNOWN) == ["train_grpo.py", *given, "run=small/zero", "topology=cpu", "num_steps=2"]
    assert pipeline.command("rows", KNOWN) == [
        "sample_traces.py", "model=tiny", *weights, *given[1:], "output=outputs/small/rows", "topology=cpu",
        "num_problems=4",
    ]  # fmt: skip
    assert pipeline.command("tuned", KNOWN) == [
        "train_sft.py", *given, "run=small/tuned", "data.paths=[outputs/small/rows/data.jsonl]", "topology=cpu",
    ]  # fmt: skip
    assert pipeline.command("evaluate_zero", KNOWN) == [
        "evaluate.py", "model=tiny", *weights, *given[1:], "output=outputs/small/evaluate_zero", "name=accuracy",
        "topology=cpu", "strategy=majority",
    ]  # fmt: skip


def test_a_trained_stage_has_the_model_settings_of_the_model_it_started_from():
    stages = {"a": StageConfig("rl", "teacher"), "b": StageConfig("rl", "a"), "c": StageConfig("rl", "base")}
    pipeline = small_pipeline(stages=stages, teacher="qwen-3b")
    assert [pipeline.model_name(name) for name in ("base", "teacher", "b", "c")] == [
        "tiny",
        "qwen-3b",
        "qwen-3b",
        "tiny",
    ]


def test_a_later_override_replaces_an_earlier_one_of_the_same_key():
    stages = {"a": StageConfig("rl", overrides=["env=multiplication", "num_steps=3"])}
    pipeline = small_pipeline(stages=stages, overrides={"all": ["num_steps=1", "seed_=1"], "rl": ["num_steps=2"]})
    overrides = pipeline.overrides("a", Known())
    assert [o for o in overrides if o.startswith(("env", "num_steps"))] == ["env=multiplication", "num_steps=3"]


def test_sources_in_a_ratio():
    stages = {"t": StageConfig("traces"), "a": StageConfig("sft", "base", {"t": 3, "user/data": 1})}
    overrides = small_pipeline(stages=stages).overrides("a", Known())
    assert "data.paths=[outputs/small/t/data.jsonl,user/data]" in overrides and "data.ratio=[3,1]" in overrides


def test_braces_stand_for_another_stages_folder_or_number():
    stages = {
        "zero": StageConfig("rl"),
        "a": StageConfig("traces", "base", overrides=["samples={zero}", "num_problems={zero.tokens}"]),
    }
    pipeline = small_pipeline(stages=stages)
    assert pipeline.overrides("a", KNOWN)[-2:] == ["samples=outputs/small/zero", "num_problems=512"]
    assert pipeline.overrides("a", Known())[-1] == "num_problems=1"


@pytest.mark.parametrize("run", ["größer", "it's, (new) = 1", "back\\slash", "end\\'", "two words"])
def test_names_with_special_characters_are_read_back_by_hydra(tmp_path, monkeypatch, request, run):
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")
    monkeypatch.chdir(tmp_path)
    stages = {
        "zero": StageConfig("rl"),
        "rows": StageConfig("traces", "zero", overrides=["samples={zero}"]),
        "tuned": StageConfig("sft", "zero", {"rows": None, "größe [1].jsonl": None}),
    }
    pipeline = small_pipeline(stages=stages, run=run)
    weights = pipeline.folder / "zero/checkpoints/step_000002/hf"
    weights.mkdir(parents=True)
    (weights / "config.json").touch()
    known, folder = Known({"zero": weights}), f"outputs/{run}"
    zero, rows, tuned, evaluated = (
        stage_settings(pipeline.stages[name].kind, pipeline.overrides(name, known))
        for name in ("zero", "rows", "tuned", "evaluate_zero")
    )
    assert (
        zero.run == f"{run}/zero" and tuned.model.path == str(weights) and evaluated.output == f"{folder}/evaluate_zero"
    )
    assert rows.output == f"{folder}/rows" and rows.samples == f"{folder}/zero"
    assert tuned.data.paths == [f"{folder}/rows/data.jsonl", "größe [1].jsonl"]


@pytest.mark.parametrize("summary", [{}, {"steps": 1.5}])
def test_a_number_that_is_missing_or_not_whole_is_refused(summary):
    stages = {"zero": StageConfig("rl"), "a": StageConfig("rl", overrides=["num_steps={zero.steps}"])}
    with pytest.raises(ValueError, match="stages.a.overrides: .* the summary of zero has no whole number steps"):
        small_pipeline(stages=stages).overrides("a", Known(summaries={"zero": summary}))


@pytest.mark.parametrize("run", ["", ".", "..", "../../elsewhere", "/tmp"])
def test_a_pipeline_stays_in_a_folder_of_outputs(run):
    with pytest.raises(ValueError, match="must be the name of a folder in outputs/; choose run=NAME"):
        small_pipeline(run=run)


def test_a_wrong_setting_of_a_stage_is_found_before_the_first_one_starts():
    stages = {"a": StageConfig("rl"), "b": StageConfig("rl", overrides=["num_stepz=1"])}
    with pytest.raises(ValueError, match="stages.b: num_stepz: unknown key .did you mean num_steps"):
        check_commands(small_pipeline(stages=stages))
    with pytest.raises(ValueError, match="stages.evaluate_base: model=tiniest: unknown; allowed are"):
        check_commands(small_pipeline(model="tiniest", stages={"zero": StageConfig("rl")}))


def test_a_missing_file_is_found_before_the_first_stage_starts(tmp_path, monkeypatch):
    stages = {"a": StageConfig("sft", "base", {str(tmp_path / "x.jsonl"): None})}
    with pytest.raises(ValueError, match=r"stages.a.data: .*x.jsonl does not exist"):
        check_commands(small_pipeline(stages=stages))
    (tmp_path / "x.jsonl").touch()
    check_commands(small_pipeline(stages=stages))


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("conf/pipeline").glob("*.yaml")))
def test_the_settings_of_every_stage_of_every_pipeline_compose(name):
    pipeline = Pipeline(compose_pipeline([f"pipeline={name}"]))
    for stage, each in pipeline.stages.items():
        cfg = stage_settings(each.kind, pipeline.overrides(stage, Known()))
        # conf/tuned/ has settings for the task of every stage: the default of RL is that of large models, 1,000 steps.
        if each.kind == "rl" and cfg.model.name.startswith("tiny"):
            assert cfg.algorithm.optimizer.lr == 3e-4, stage


def test_the_roads_of_r1_are_the_papers():
    stages = compose_pipeline(["pipeline=r1"]).stages
    assert list(stages["full_sft"].data.items()) == [("rejection", 3), ("outputs/drills/data.jsonl", 1)]
    assert stages["full_sft"].model == stages["cold_start"].model == "base"
    assert stages["rejection"].model == "reasoning_rl" and stages["all_tasks_rl"].model == "full_sft"


def test_a_stage_can_start_from_any_file_of_conf_model():
    stages = {"a": StageConfig("rl", "tiny-direct"), "b": StageConfig("rl", "a")}
    pipeline = small_pipeline(stages=stages)
    assert pipeline.command("a", Known())[:2] == ["train_grpo.py", "model=tiny-direct"]
    assert pipeline.model_name("b") == pipeline.stages["evaluate_tiny_direct"].model == "tiny-direct"


def test_only_the_named_stages_run():
    assert list(small_pipeline(only=["rows"]).stages) == ["zero", "rows"]
    with pytest.raises(ValueError, match="only=row: there is no such stage"):
        small_pipeline(only=["row"])


def test_the_minutes_of_a_stage_are_its_own_or_those_of_its_kind():
    pipeline = small_pipeline(minutes={"rl": 3.0, "evaluate": 1.0, "evaluate_zero": 2.0})
    assert [pipeline.minutes(name) for name in ("zero", "evaluate_zero", "evaluate_base")] == [3.0, 2.0, 1.0]
    assert pipeline.minutes("rows") is None

import pytest

from conf.compose import compose_pipeline
from conf.pipelines import PipelineConfig, StageConfig


def config(stages, **more):
    return PipelineConfig(name="p", run="p", model="tiny", env="countdown", stages=stages, **more)


TRACES = StageConfig("traces", "base")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "stages must name at least one stage"),
        ({"a": StageConfig("rlhf", "base")}, "stages.a.kind must be one of rl, sft, traces, evaluate, got rlhf"),
        ({"a": StageConfig("rl", "b")}, "stages.a.model must be one of base, teacher, qwen-0.5b, "),
        ({"a": StageConfig("rl", "a")}, "tiny-direct, tiny-student, got a"),
        ({"t": TRACES, "a": StageConfig("rl", "t")}, "tiny-direct, tiny-student, got t"),
        ({"tiny": StageConfig("rl", "base")}, "stages.tiny: a stage is named with lower-case"),
        ({"a": StageConfig("rl", "teacher")}, "stages.a.model=teacher needs a teacher"),
        ({"sft": StageConfig("rl", "base")}, "stages.sft: a stage is named with lower-case"),
        ({"a-b": StageConfig("rl", "base")}, "stages.a-b: a stage is named with lower-case"),
        ({"a": StageConfig("sft", "base")}, "stages.a.data is for stages of kind sft, which need it"),
        ({"a": StageConfig("rl", "base", {"x.jsonl": None})}, "stages.a.data is for stages of kind sft"),
        ({"a": StageConfig("sft", "base", {"trace": None})}, "stages.a.data names trace, which is neither a stage nor"),
        ({"b": StageConfig("rl"), "a": StageConfig("sft", "base", {"b": None})}, "stages.a.data must be one of"),
        ({"a": StageConfig("sft", "base", {"x.jsonl": 0})}, "stages.a.data.x.jsonl must be >= 1, got 0"),
        ({"t": TRACES, "a": StageConfig("sft", "base", {"t": 3, "x/y": None})}, "stages.a.data must give a number for"),
        ({"a": StageConfig("rl", overrides=["num_steps"])}, "stages.a.overrides: num_steps is not an override"),
        ({"a": StageConfig("rl", overrides=["run=x"])}, "stages.a.overrides: run=x is not allowed, since the pipeline"),
        (
            {"a": StageConfig("rl", overrides=["+run=x"])},
            "stages.a.overrides: +run=x is not allowed, since the pipeline",
        ),
        ({"a": StageConfig("rl", overrides=["num_tokens={b.tokens}"])}, "stages.a.overrides: the stage in braces must"),
        (
            {"t": TRACES, "a": StageConfig("rl", overrides=["num_tokens={t.usd}"])},
            "the number of t in braces must be one of rows, data_tokens, samples, tokens, got usd",
        ),
        (
            {"e": StageConfig("evaluate"), "a": StageConfig("rl", overrides=["num_tokens={e.tokens}"])},
            "the number of e in braces must be one of none, since it is an evaluation, got tokens",
        ),
    ],
)
def test_a_wrong_stage_is_refused_in_one_line(stages, message):
    with pytest.raises(ValueError) as refused:
        config(stages)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_overrides_are_for_all_stages_or_for_a_kind():
    with pytest.raises(ValueError, match="overrides must be one of all, rl, sft, traces, evaluate, got rlhf"):
        config({"a": StageConfig("rl")}, overrides={"rlhf": []})
    with pytest.raises(ValueError, match=r"overrides.rl: \{a.tokens\} is for the overrides of a single stage"):
        config({"a": StageConfig("rl")}, overrides={"rl": ["num_tokens={a.tokens}"]})


def test_an_argument_belongs_to_a_stage_a_kind_all_stages_or_the_pipeline():
    cfg = compose_pipeline(
        ["pipeline=r1", "seed=3", "cold_start.epochs=1", "rl.num_steps=2", "all.topology=cpu", "model=tiny-student"]
    )
    assert cfg.seed == 3 and cfg.model == "tiny-student" and cfg.run == "r1-countdown-tiny-student-seed3"
    assert cfg.stages["cold_start"].overrides[-2:] == ["topology=cpu", "epochs=1"]
    assert cfg.overrides["rl"][-2:] == ["topology=cpu", "num_steps=2"]
    assert cfg.stages["r1_zero"].overrides == ["reward=r1_zero", "topology=cpu", "num_steps=2"]


def test_the_most_special_argument_wins_and_all_of_them_over_the_file():
    cfg = compose_pipeline(
        ["pipeline=r1", "r1_zero.num_steps=60", "rl.num_steps=12", "all.num_steps=9", "all.num_problems=64"]
    )
    assert [override for override in cfg.stages["r1_zero"].overrides if "num_steps" in override][-1] == "num_steps=60"
    assert cfg.stages["reasoning_rl"].overrides[-1] == "num_steps=12"
    assert cfg.overrides["evaluate"][-1] == "num_problems=64"  # of evaluations that the file does not list


@pytest.mark.parametrize("arguments", [["env=multiplication"], ["env=countdown", "env=multiplication"]])
def test_the_task_is_a_setting_of_the_pipeline_although_hydra_knows_a_group_of_this_name(arguments):
    cfg = compose_pipeline(["pipeline=r1", *arguments, "seed=1"])
    assert cfg.env == "multiplication" and cfg.run == "r1-multiplication-tiny-seed1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pipeline=: choose one of cold_start, cold_start_smollm2, distill, distill_gsm8k, journey"),
        (["pipeline=r2"], "pipeline=r2: choose one of"),
        (["pipeline=r1", "sed=1"], r"sed: unknown key \(did you mean seed\?\)"),
        (["pipeline=r1", "cold.epochs=1"], "cold.epochs: unknown key"),
        (["pipeline=r1", "seed=x"], "seed=x: Value 'x'"),
        (["pipeline=r1", "cold_start.model.path=x"], "stages.cold_start.overrides: model.path=x is not allowed"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as refused:
        compose_pipeline(arguments)
    assert "\n" not in str(refused.value)

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from conf.compose import compose_pipeline
from conf.pipelines import StageConfig
from pipelines.commands import Known, Pipeline, cost_of, stage_settings
from tests.made_pipeline import small_pipeline
from tools.planner import choice
from tools.planner.hardware import gpu_named
from tools.planner.memory import GIB, ActorTable
from tools.planner.pipeline import (
    STARTUP_SECONDS,
    Machine,
    StagePlan,
    fitting_overrides,
    num_rows,
    plan_pipeline,
    plan_stage,
    print_pipeline,
)
from tools.planner.roofline import generation_seconds
from tools.planner.trace import Peak, UpdateMemory


@pytest.fixture
def untraced(monkeypatch):
    """The actor's memory as a constant, since tracing takes half a minute."""
    memory = UpdateMemory(2 * GIB, 2 * GIB, 4 * GIB, Peak(), Peak(0, GIB), 0)
    monkeypatch.setattr(choice, "actor_table", lambda *_: ActorTable((1, 4), (memory, memory)))


def plans_of(*arguments, gpu="h100", count=1):
    pipeline = Pipeline(compose_pipeline(arguments))
    return plan_pipeline(pipeline, Machine(gpu_named(gpu), count))


def test_every_stage_is_planned_in_order(untraced):
    plans = plans_of("pipeline=r1_gsm8k")
    assert list(plans) == list(Pipeline(compose_pipeline(["pipeline=r1_gsm8k"])).stages)
    assert all(plan.seconds > STARTUP_SECONDS for plan in plans.values())
    assert plans["r1_zero"].steps == 467 and plans["r1_zero"].tokens == 467 * 16 * 64 * 512
    assert plans["cold_traces"].rows == 3000 and plans["rejection"].rows == 7000 * 4
    # 3,000 rows of half of 512 and 1,024 tokens, twice, in batches of 65,536
    assert plans["cold_start"].steps == math.ceil(2 * 3000 * 768 / 65536)
    # the general data is a third of the rejection-sampled rows
    assert plans["full_sft"].steps == math.ceil(2 * 28000 * 4 / 3 * 768 / 65536)
    assert any(override.startswith("algorithm.micro_batch_tokens=") for override in plans["r1_zero"].overrides)
    assert any(override.startswith("micro_batch_tokens=") for override in plans["full_sft"].overrides)


def test_sft_runs_on_any_number_of_gpus(untraced):
    plans = plans_of("pipeline=r1_gsm8k", count=3)
    assert plans["cold_start"].steps == math.ceil(2 * 3000 * 768 / 65536)


def test_the_settings_of_an_sft_stage_are_its_own(untraced, monkeypatch):
    def overrides(self, plan):
        return ["algorithm.micro_batch_tokens=8192", "algorithm.optimizer.name=adamw_8bit"]

    monkeypatch.setattr(choice.Planner, "overrides", overrides)
    assert plans_of("pipeline=r1_gsm8k")["cold_start"].overrides == (
        "micro_batch_tokens=8192",
        "optimizer.name=adamw_8bit",
    )


def test_rl_at_as_many_tokens_as_another_stage(untraced):
    plans = plans_of("pipeline=distill_gsm8k")
    step = 16 * 64 * 1024
    assert plans["student_rl"].steps == math.ceil(plans["distilled"].tokens / step) < 1000
    assert plans["student_rl"].tokens == plans["student_rl"].steps * step


def test_samples_of_another_stage_are_not_generated_again(untraced):
    plans = plans_of("pipeline=journey_gsm8k", gpu="rtx4090")
    assert plans["shortcut_traces"].seconds == STARTUP_SECONDS and plans["shortcut_traces"].rows == 1000
    assert plans["journey_traces"].seconds > STARTUP_SECONDS


def test_numbers_of_a_planned_traces_stage_may_set_the_length_of_another(untraced):
    stages = {
        "rows": StageConfig("traces", "base", {}, ["num_problems=30", "num_samples=4", "thresholds.k=2"]),
        "zero": StageConfig("rl", "base", {}, ["num_steps={rows.rows}", "num_tokens={rows.data_tokens}"]),
        "more": StageConfig("rl", "base", {}, ["num_steps={rows.samples}"]),
    }
    plans = plan_pipeline(small_pipeline(stages=stages), Machine(gpu_named("h100"), 1))
    assert plans["rows"].rows == 60 and plans["rows"].samples == 120 and plans["more"].steps == 120
    assert 1 <= plans["zero"].steps <= 60


@pytest.mark.parametrize(
    ("strategy", "completions", "rows"),
    [("greedy", 1, 1), ("sample", 8, 8), ("beam", 4, 1), ("revise", 3, 1), ("budget", 1, 1)],
)
def test_a_strategy_takes_its_own_number_of_completions(untraced, strategy, completions, rows):
    overrides = [f"strategy={strategy}", "num_problems=10", "num_samples=8", "filters=[correct]"]
    stages = {"rows": StageConfig("traces", "base", {}, overrides)}
    plan = plan_pipeline(small_pipeline(stages=stages), Machine(gpu_named("h100"), 1))["rows"]
    assert plan.samples == 10 * completions and plan.rows == 10 * rows


def test_the_price_is_that_of_the_settings():
    pipeline = Pipeline(compose_pipeline(["pipeline=r1_gsm8k", "all.cost.usd_per_gpu_hour=1.25"]))
    assert Machine(gpu_named("h100"), 2, cost=cost_of(pipeline)).price.usd_per_hour == 2.5


def test_the_printed_command_keeps_lists(untraced):
    given = ["only=[r1_zero]", "tracker.names=[wandb]"]
    pipeline = Pipeline(compose_pipeline(["pipeline=r1_gsm8k", given[0]]))
    machine = Machine(gpu_named("h100"), 1)
    console = Console(file=io.StringIO(), record=True)
    print_pipeline(console, pipeline, plan_pipeline(pipeline, machine), machine, given)
    assert "pipeline=r1_gsm8k 'only=[r1_zero]' 'tracker.names=[wandb]' " in console.export_text()


def test_stages_with_another_number_of_sequences_have_another_engine(untraced):
    pipeline, machine = Pipeline(compose_pipeline(["pipeline=r1_gsm8k"])), Machine(gpu_named("h100"), 1)
    few = stage_settings("rl", [*pipeline.overrides("r1_zero", Known()), "rollout.max_num_seqs=16"])
    many = replace(few, rollout=replace(few.rollout, max_num_seqs=512))
    assert machine.planner(few).rollout.fixed < machine.planner(many).rollout.fixed


def test_an_evaluation_takes_the_seconds_of_its_generation(untraced):
    machine = Machine(gpu_named("h100"), 2)
    pipeline = Pipeline(compose_pipeline(["pipeline=journey_gsm8k"]))
    plan = plan_pipeline(pipeline, machine)["evaluate_base"]
    cfg = stage_settings("evaluate", pipeline.overrides("evaluate_base", Known()))
    expected = generation_seconds(machine.workload(cfg), 1319 * 16, 1319, replicas=2, concurrency=256)
    assert plan.seconds == pytest.approx(STARTUP_SECONDS + expected) and plan.tokens == 1319 * 16 * 512


def test_a_stage_that_does_not_fit_is_named(untraced):
    with pytest.raises(ValueError, match="stages.evaluate_teacher: vLLM needs .* GiB for one sequence"):
        plans_of("pipeline=distill_gsm8k", "evaluate.rollout.gpu_memory_utilization=0.5", gpu="rtx4090")


def test_data_of_unknown_size_is_refused_by_name(untraced):
    stages = {"a": StageConfig("sft", "base", {"user/data": None})}
    with pytest.raises(ValueError, match=r"stages.a: the number of rows of its data is unknown, .*; set a.num_steps=N"):
        plan_pipeline(small_pipeline(stages=stages), Machine(gpu_named("h100"), 1))


def test_the_rows_of_a_file_are_counted(untraced, tmp_path):
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n' * 4000)
    stages = {"a": StageConfig("sft", "base", {str(tmp_path / "data.jsonl"): None}, ["batch_tokens=4096"])}
    plans = plan_pipeline(small_pipeline(stages=stages), Machine(gpu_named("h100"), 1))
    cfg = stage_settings("sft", small_pipeline(stages=stages).overrides("a", Known()))
    mean = (cfg.model.max_prompt_tokens + cfg.model.max_completion_tokens) / 2
    assert plans["a"].steps == math.ceil(4000 * mean / 4096)


def test_a_stage_is_not_planned_from_the_numbers_of_one_without_a_plan(untraced):
    stages = {"a": StageConfig("rl"), "b": StageConfig("rl", "base", {}, ["num_tokens={a.tokens}"])}
    with pytest.raises(ValueError, match=r"stages.b: its settings depend on a, for which there is no plan"):
        plan_stage(small_pipeline(stages=stages), "b", {}, Machine(gpu_named("h100"), 1))


def test_the_rows_of_sources_in_a_ratio_by_hand():
    stage = StageConfig("sft", "base", {"t": 3, "user/data": 1})
    plans = {"t": type("Plan", (), {"rows": 300})}
    assert num_rows(stage, plans) == 400
    assert num_rows(StageConfig("sft", "base", {"t": None}), plans) == 300
    assert num_rows(StageConfig("sft", "base", {"t": None, "user/data": None}), plans) is None


def test_a_file_with_few_rows_limits_a_ratio(tmp_path):
    (tmp_path / "data.jsonl").write_text("{}\n" * 20)
    stage = StageConfig("sft", "base", {"t": 3, str(tmp_path / "data.jsonl"): 1})
    assert num_rows(stage, {"t": StagePlan(1.0, 1.0, rows=300)}) == 80


def test_settings_on_which_all_stages_of_a_kind_agree_are_given_once():
    stages = {"a": StageConfig("rl"), "b": StageConfig("rl"), "c": StageConfig("sft", "base", {"x/y": None})}
    pipeline = small_pipeline(stages=stages)
    plans = {name: StagePlan(1.0, 1.0, overrides=("topology=one_gpu",)) for name in stages}
    assert fitting_overrides(pipeline, plans) == ["rl.topology=one_gpu", "sft.topology=one_gpu"]
    plans["b"] = StagePlan(1.0, 1.0, overrides=("topology=split",))
    assert fitting_overrides(pipeline, plans)[:2] == ["a.topology=one_gpu", "b.topology=split"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gpu", "hours"),
    [("r1_gsm8k", "h100", 17.5), ("distill_gsm8k", "h100", 5.8), ("journey_gsm8k", "rtx4090", 1.3)],
)
def test_the_presets_fit_on_a_rented_gpu(name, gpu, hours):
    plans = plans_of(f"pipeline={name}", gpu=gpu)
    assert sum(plan.seconds for plan in plans.values()) / 3600 == pytest.approx(hours, rel=0.25)

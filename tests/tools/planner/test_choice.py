from dataclasses import replace
from functools import cache

import pytest

from conf.compose import compose_config
from tools.planner.choice import Plan, Planner, choose, gpu_splits, make_planner
from tools.planner.fit import GpuSplit
from tools.planner.hardware import GPUS, gpu_named
from tools.planner.memory import rollout_memory
from tools.planner.roofline import Workload, generation_seconds
from tools.planner.trace import Peak, UpdateMemory


@cache
def planner(gpu: str = "a100-80gb", count: int = 1, overrides: tuple[str, ...] = ("model=qwen-0.5b",)) -> Planner:
    return make_planner(compose_config(overrides), gpu_named(gpu), count)


def on(name: str, count: int = 1) -> Planner:
    """The same model on another GPU, without tracing it again."""
    base, gpu = planner(), gpu_named(name)
    engine = rollout_memory(base.shape, base.cfg.model, base.cfg.rollout.max_num_seqs, gpu.vllm_tokens)
    return Planner(base.cfg, gpu, count, base.shape, engine, base.tables)


def test_a_larger_gpu_never_fits_less():
    for optimizer in ("adamw", "adamw_8bit"):
        for split in gpu_splits(1, optimizer):
            found = [on(name).plan(split) for name in sorted(GPUS, key=lambda name: GPUS[name].memory)]
            assert [plan.micro_batch_tokens for plan in found] == sorted(plan.micro_batch_tokens for plan in found)
            assert [plan.problem is None for plan in found] == sorted(plan.problem is None for plan in found)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("gpu", ["rtx4090", "h200"])
def test_the_chosen_plan_fits_and_its_overrides_compose(gpu, count):
    found = on(gpu, count)
    chosen = choose(found.plans())
    assert chosen is not None
    assert max(sum(chosen.generating.values()), sum(chosen.training.values())) <= found.gpu.memory * 0.95
    cfg = compose_config(["model=qwen-0.5b", *found.overrides(chosen)])
    assert cfg.algorithm.micro_batch_tokens == chosen.micro_batch_tokens >= 1536
    assert cfg.rollout.kv_cache_gb is None and cfg.rollout.gpu_memory_utilization == chosen.gpu_memory_utilization
    assert cfg.model.gradient_checkpointing == chosen.split.checkpointing


def test_the_memory_of_vllm_holds_its_weights_and_the_planned_sequences():
    found = on("rtx4090")
    chosen = choose(found.plans())
    held = chosen.gpu_memory_utilization * found.gpu.memory
    assert held > 0.99 * (found.rollout.fixed + chosen.sequences * found.rollout.kv_sequence)
    assert chosen.gpu_memory_utilization <= 0.9


def test_dollars_are_hours_times_the_price_of_all_gpus():
    chosen = choose(on("l4", 2).plans())
    assert chosen.usd == pytest.approx(chosen.hours * 2 * 0.44)


def test_one_gpu_has_one_topology_and_several_have_three():
    assert {split.topology for split in gpu_splits(1, "adamw")} == {"one_gpu"}
    assert {split.topology for split in gpu_splits(2, "adamw")} == {"colocated", "split", "async"}


@pytest.mark.parametrize("change", [{"candidates": 4}, {"max_resample_rounds": 3}, {"top_p": 0.9}])
def test_async_is_not_planned_for_settings_that_it_refuses(change):
    base = on("h100", 2)
    sampling = replace(base.cfg.algorithm.sampling, **change)
    changed = replace(base, cfg=replace(base.cfg, algorithm=replace(base.cfg.algorithm, sampling=sampling)))
    assert "async" in {plan.split.topology for plan in base.plans()}
    assert {plan.split.topology for plan in changed.plans()} == {"colocated", "split"}


def test_an_async_plan_for_gspo_has_the_correction_that_it_requires():
    base = on("h100", 2)
    loss = replace(base.cfg.algorithm.loss, name="gspo")
    changed = replace(base, cfg=replace(base.cfg, algorithm=replace(base.cfg.algorithm, loss=loss)))
    plan = next(plan for plan in base.plans() if plan.split.topology == "async" and plan.problem is None)
    cfg = compose_config(["model=qwen-0.5b", "algorithm=gspo", *changed.overrides(plan)])
    assert cfg.algorithm.correction.level == "sequence" and cfg.topology.max_off_policy_steps == 1
    assert not any("correction" in override for override in base.overrides(plan))


@pytest.mark.parametrize(
    ("evaluation", "interims", "problems"),
    [
        # 4 x 64 at the start and at the end, and 32 at each of the steps 10 and 20: step 30 is the end
        (("evaluation.every=10", "evaluation.interim_problems=32"), 2, 32),
        (("evaluation.every=10", "evaluation.interim_problems=128"), 2, 64),
        (("evaluation.every=0",), 0, 1),
    ],
)
def test_evaluations_generate_one_after_the_other(evaluation, interims, problems):
    cfg = compose_config(["model=qwen-0.5b", "num_steps=30", "evaluation.num_problems=64", *evaluation])
    found = replace(planner(), cfg=cfg)
    work = Workload(found.gpu, found.shape, cfg.model, cfg.algorithm)
    whole, interim = (generation_seconds(work, count, count, 1, 256) for count in (64, problems))
    assert found.evaluation_seconds(work, 1, 256) == pytest.approx(4 * whole + interims * interim)


def test_trials_are_generated_too():
    base = on("h100")
    sampling = replace(base.cfg.algorithm.sampling, candidates=2, trial_completions=8)  # as many again, twice
    tried = replace(base, cfg=replace(base.cfg, algorithm=replace(base.cfg.algorithm, sampling=sampling)))
    seconds = [choose(each.plans()).seconds["generate"] for each in (base, tried)]
    assert seconds[1] > 1.8 * seconds[0]


def timed(topology: str, seconds: float, problem: str | None = None) -> Plan:
    nothing = UpdateMemory(0, 0, 0, Peak(), Peak(), 0)
    return Plan(GpuSplit(topology, 1, 1, False, True, "adamw"), {}, {}, nothing, problem, step_seconds=seconds)


def test_async_is_chosen_only_if_it_saves_a_tenth_of_the_time():
    split = timed("split", 100)
    assert choose([split, timed("async", 95)]) is split
    assert choose([split, timed("async", 85)]).split.topology == "async"
    assert choose([timed("split", 1, "training needs 9 GiB of 8")]) is None


def test_an_async_step_is_the_longer_of_generation_and_the_rest_and_then_the_weight_sync():
    found = on("a100-80gb", 2)
    plan = next(p for p in found.plans() if p.split.topology == "async" and p.problem is None)
    generate, sync = plan.seconds["generate"], plan.seconds["weight sync"]
    rest = sum(plan.seconds.values()) - generate - sync
    assert sync > 0 and plan.step_seconds == pytest.approx(max(generate, rest) + sync)


def test_a_plan_that_does_not_fit_names_the_memory_it_needs():
    small = on("rtx4090")
    engine = rollout_memory(small.shape, small.cfg.model, max_num_seqs=30_000, batched_tokens=8192)
    crowded = Planner(small.cfg, small.gpu, 1, small.shape, engine, small.tables)
    plan = crowded.plan(next(gpu_splits(1, "adamw")))
    assert "needs" in plan.problem and "GiB of 22.8" in plan.problem


def test_unknown_names_are_rejected_in_one_line():
    with pytest.raises(ValueError, match="GPU=b100: unknown; allowed are rtx3090, rtx4090, l4"):
        gpu_named("b100")
    with pytest.raises(ValueError, match="model=qwen-7b: unknown; allowed are qwen-0.5b"):
        compose_config(["model=qwen-7b"])
    with pytest.raises(ValueError, match="model.path=no such model is neither a folder"):
        planner(overrides=("model=qwen-0.5b", "model.path='no such model'"))

"""The doctor's verdicts on memory are the planner's."""

from dataclasses import replace

import pytest

from conf.compose import compose_config
from conf.schema import Config
from tools.doctor.facts import Requirements
from tools.doctor.gpus import judge_fit
from tools.doctor.requirements import requirements
from tools.planner.choice import choose, make_planner
from tools.planner.hardware import GpuSpec, gpu_named
from tools.planner.memory import GIB


def installed(gpu: GpuSpec, count: int) -> list[tuple[str, float]]:
    return [(gpu.name, float(gpu.memory_mib))] * count


def before_activations(cfg: Config, needed: Requirements, gpu: GpuSpec) -> float:
    """A simpler estimate: state of the actor, reference, and vLLM's fraction of one GPU."""
    return needed.training_state + needed.weights + cfg.rollout.gpu_memory_utilization * gpu.memory / GIB


def test_a_run_that_fits_all_gpus_together_but_no_single_one_is_an_error():
    # 46 GiB of state, 5.7 of reference and 10.8 for vLLM are less than 4 x 24 GiB, but FSDP2 gathers layers, the
    # reference is on every GPU and passes need activations: no split fits, and both tools say so.
    gpu = gpu_named("rtx4090")
    cfg = compose_config(["model=qwen-3b"])
    needed = requirements(cfg, installed(gpu, 4))
    assert before_activations(cfg, needed, gpu) < 4 * gpu.memory / GIB
    assert choose(make_planner(cfg, gpu, 4).plans()) is None
    found = judge_fit(needed)
    assert found.level == "error" and "training needs" in found.saw and "GiB of 22.8" in found.saw


def test_the_planner_s_choice_passes_with_the_planner_s_figures():
    gpu = gpu_named("rtx4090")
    planner = make_planner(compose_config(["model=qwen-0.5b"]), gpu, 2)
    for plan in (choose(planner.plans()), next(p for p in planner.plans() if p.split.topology == "split")):
        assert plan is not None and plan.problem is None
        cfg = compose_config(["model=qwen-0.5b", *planner.overrides(plan)])
        if not plan.split.colocated:
            cfg = replace(cfg, topology=replace(cfg.topology, actor_ranks=plan.split.trainers))
        needed = requirements(cfg, installed(gpu, 2))
        assert judge_fit(needed).level == "ok"
        assert needed.training * GIB == pytest.approx(sum(plan.training.values()))
        # vLLM gets whole hundredths of the GPU: less than planned by a hundredth at most
        assert 0 <= sum(plan.generating.values()) - needed.generating * GIB <= 0.01 * gpu.memory
        host = planner.host(plan)
        assert needed.host * GIB == pytest.approx(host.memory)
        assert needed.checkpoints * GIB == pytest.approx(host.checkpoints)


def test_vllm_must_have_room_for_one_sequence():
    gpu = gpu_named("h100")
    cfg = compose_config(["model=qwen-0.5b", "rollout.gpu_memory_utilization=0.03"])
    found = judge_fit(requirements(cfg, installed(gpu, 1)))
    assert found.level == "error" and "vLLM needs" in found.saw and "for a single sequence but gets 2.4" in found.saw


def test_state_and_checkpoints_by_hand():
    # 2 bytes per parameter in bfloat16; weights, gradients and two moments in float32: 16
    cfg = compose_config(["model=qwen-0.5b"])
    parameters = 494_032_768
    needed = requirements(cfg, installed(gpu_named("h100"), 1))
    assert needed.weights == pytest.approx(2 * parameters / GIB)
    assert needed.training_state == pytest.approx(16 * parameters / GIB)
    assert needed.shared_memory == pytest.approx(4 * parameters / GIB)
    assert needed.checkpoints == pytest.approx(3 * (2 + 4 + 8) * parameters / GIB)
    assert needed.vllm == (pytest.approx(0.45 * 81559 / 1024),)


def test_an_adapter_trains_and_stores_few_parameters():
    cfg = compose_config(["model=qwen-0.5b", "model.lora.rank=32"])
    needed = requirements(cfg, installed(gpu_named("h100"), 1))
    base = 2 * 494_032_768 / GIB
    assert base < needed.training_state < 1.5 * base
    assert 3 * base < needed.checkpoints < 4 * base


def test_a_run_on_the_cpu_needs_host_memory_only():
    needed = requirements(compose_config([]), [])
    assert (needed.training, needed.generating, needed.vllm, needed.problem) == (0, 0, (), None)
    # four processes of 1.2 GiB, 1 GiB of keys and values, and little for a tiny model
    assert 5.8 < needed.host < 7

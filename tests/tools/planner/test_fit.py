from dataclasses import replace

from conf.compose import compose_config
from tests.tools.planner.test_memory import MEMORY, SHAPE
from tools.planner.fit import KV_CACHE, GpuMemory, GpuSplit
from tools.planner.host import PROCESS, host_needs
from tools.planner.memory import COMMUNICATION, CONTEXT, CUDA_GRAPHS, GIB, RolloutMemory

# The model of test_memory.py has 100 parameters: 200 bytes in bfloat16, 400 in float32.
CFG = compose_config(["model=qwen-3b", "rollout.gpu_memory_utilization=0.5", "algorithm.kl.coef=0.01"])
ENGINE = RolloutMemory(weights=200, activations=50, graphs=CUDA_GRAPHS, kv_sequence=480)
GPU = GpuMemory(CFG, SHAPE, ENGINE, capacity=16 * GIB)
COLOCATED = GpuSplit("one_gpu", 1, 1, True, False, "adamw")
SPLIT = GpuSplit("split", 1, 1, False, False, "adamw")


def test_a_shared_gpu_holds_the_sleeping_engine_and_three_contexts_while_it_trains():
    parts = GPU.training(COLOCATED, MEMORY)
    # the optimizer step (400) needs more than the passes (160)
    assert sum(parts.values()) == 400 + 400 + 800 + 400 + 200 + CUDA_GRAPHS + 3 * CONTEXT
    awake = GPU.training(replace(COLOCATED, sleep_mode=False), MEMORY)
    assert sum(awake.values()) - sum(parts.values()) == 8 * GIB - CUDA_GRAPHS
    offloaded = GPU.training(replace(COLOCATED, offload_reference=True), MEMORY)
    assert sum(parts.values()) - sum(offloaded.values()) == 200


def test_vllm_starts_only_if_its_fraction_of_the_gpu_is_free_however_small_its_cache_is():
    def with_cache(gb):
        rollout = replace(CFG.rollout, kv_cache_gb=gb)
        return GpuMemory(replace(CFG, rollout=rollout), SHAPE, ENGINE, capacity=16 * GIB)

    assert (with_cache(2.0).vllm, with_cache(2.0).vllm_at_start) == (ENGINE.fixed + 2 * GIB, 8 * GIB)
    assert with_cache(12.0).vllm_at_start == with_cache(12.0).vllm == ENGINE.fixed + 12 * GIB
    assert with_cache(None).vllm_at_start == with_cache(None).vllm == 8 * GIB


def test_offloading_removes_the_actor_from_a_generating_gpu():
    parts = GPU.generating(COLOCATED, MEMORY)
    assert sum(parts.values()) == 1200 + 200 + ENGINE.fixed + 3 * CONTEXT
    assert sum(GPU.generating(replace(COLOCATED, offload_actor=True), MEMORY).values()) == sum(parts.values()) - 1200


def test_a_split_generates_without_the_actor_and_communicates():
    assert sum(GPU.generating(SPLIT, MEMORY).values()) == ENGINE.fixed + CONTEXT + COMMUNICATION
    assert sum(GPU.training(SPLIT, MEMORY).values()) == 2000 + 200 + 2 * CONTEXT + COMMUNICATION


def test_the_problem_names_the_phase_that_does_not_fit():
    fits = {KV_CACHE: GIB}
    assert GPU.problem({"actor": 15 * GIB}, fits) is None
    assert GPU.problem({"actor": 15.5 * GIB}, fits) == "training needs 15.5 GiB of 15.2"
    assert GPU.problem({}, {"actor": 15 * GIB, KV_CACHE: GIB}) == "generating needs 16.0 GiB of 15.2"
    assert GPU.problem({}, {"actor": GIB, KV_CACHE: 0}) == "vLLM needs 1.0 GiB for a single sequence but gets 1.0"


def test_host_memory_and_checkpoints_by_hand():
    gpu = host_needs(CFG, SHAPE, COLOCATED, MEMORY, on_gpu=True)
    # driver, actor, reference and engine; 200 being loaded, 200 being published, 400 in shared memory
    assert gpu.memory == 4 * PROCESS + 400 + 400 and gpu.shared_memory == 400
    # two checkpoints are kept and one is written: weights in bfloat16, trained weights and state in float32
    assert gpu.checkpoints == 3 * (200 + 400 + 800)
    both = replace(COLOCATED, offload_actor=True, offload_reference=True)
    assert host_needs(CFG, SHAPE, both, MEMORY, on_gpu=True).memory == gpu.memory + 1200 + 200
    cpu = host_needs(CFG, SHAPE, COLOCATED, MEMORY, on_gpu=False)
    # the whole update, the reference, and an engine with 1 GiB of KV cache
    assert cpu.memory == 4 * PROCESS + MEMORY.peak + 200 + 200 + GIB + 400

"""The actor's update: its memory, seconds and rate beside the planner's, and moving it to the host and back."""

import gc
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from conf.algorithms import AlgorithmConfig
from conf.workers import LoraConfig, ModelConfig, TopologyConfig
from tools.gpu_check.batch import random_batch
from tools.gpu_check.stage import GIB, Measurement, Setup
from tools.planner.efficiencies import AT_LIMIT, Efficiencies
from tools.planner.hardware import gpu_named
from tools.planner.memory import actor_memory
from tools.planner.roofline import (
    OPTIMIZER_BYTES,
    Workload,
    logprobs_seconds,
    to_host_and_back_seconds,
    update_seconds,
)
from tools.planner.shape import config_of, shape_of
from workers.actor import Actor
from workers.models import model_settings
from workers.rank_group import RankInfo

MICRO_BATCHES = 4  # of the measured update
FITTING = 0.95  # a case is measured if its planned peak is below this fraction of the GPU's memory
MEMORY_BOUND = 0.15  # allowed difference between measured and planned peak, as a fraction of the planned one


@dataclass(frozen=True)
class Case:
    """rows: completions of a micro-batch."""

    model: str
    rows: int
    checkpointing: bool = False
    lora_rank: int = 0
    optimizer: str = "adamw"

    def __str__(self) -> str:
        parts = [self.model, f"{self.rows} rows"]
        parts += ["checkpointing"] if self.checkpointing else []
        parts += [f"LoRA {self.lora_rank}"] if self.lora_rank else []
        parts += ["8-bit AdamW"] if self.optimizer == "adamw_8bit" else []
        return " ".join(parts)


CASES = (
    Case("qwen-1.5b", 12, checkpointing=True),
    Case("qwen-1.5b", 2),
    Case("qwen-0.5b", 6),
    Case("qwen-0.5b", 12, checkpointing=True),
    Case("qwen-1.5b", 12, checkpointing=True, lora_rank=32),
    Case("qwen-1.5b", 12, checkpointing=True, optimizer="adamw_8bit"),
    Case("qwen-3b", 6, checkpointing=True),
)
CPU_CASES = (Case("tiny", 2), Case("tiny", 2, checkpointing=True, lora_rank=4))
TYPICAL, TYPICAL_LORA = CASES[0], CASES[4]  # whose rates are the planner's efficiencies


class RandomActor(Actor):
    """An actor that starts from random weights, made where they are used."""

    def _load(self, model: ModelConfig, dtype: str) -> Any:
        torch.manual_seed(0)
        with torch.device(self.device):
            return AutoModelForCausalLM.from_config(config_of(model), **model_settings(dtype, packed=True)).eval()


def measure(setup: Setup) -> Iterator[Measurement]:
    """Planned peaks are traced in other processes, meanwhile the device is measured."""
    cases = CASES if setup.on_gpu else CPU_CASES
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        settings = [case_settings(setup, case) for case in cases]
        planned = [pool.submit(planned_peak, *each, case.rows) for case, each in zip(cases, settings, strict=True)]
        for case, (model, algorithm), peak in zip(cases, settings, planned, strict=True):
            work = workload(setup, case, model, algorithm)
            if setup.on_gpu and peak.result() > FITTING * torch.cuda.get_device_properties(0).total_memory:
                yield Measurement(f"{case}: planned peak, which does not fit", peak.result() / GIB, "GiB")
                continue
            yield from measure_case(setup, case, model, algorithm, work, peak.result())
            gc.collect()
            if setup.on_gpu:
                torch.cuda.empty_cache()


def case_settings(setup: Setup, case: Case) -> tuple[ModelConfig, AlgorithmConfig]:
    prompt, completion = (256, 1024) if setup.on_gpu else (16, 48)
    model = replace(
        setup.config(model=case.model).model,
        max_prompt_tokens=prompt,
        max_completion_tokens=completion,
        gradient_checkpointing=case.checkpointing,
        lora=LoraConfig(case.lora_rank, 64),
    )
    algorithm = setup.config().algorithm
    return model, replace(
        algorithm,
        num_prompts=MICRO_BATCHES * case.rows // 2,
        group_size=2,
        num_minibatches=1,
        num_epochs=1,
        micro_batch_tokens=case.rows * (prompt + completion),
        optimizer=replace(algorithm.optimizer, name=case.optimizer),
    )


def planned_peak(model: ModelConfig, algorithm: AlgorithmConfig, rows: int) -> float:
    """Bytes."""
    return actor_memory(config_of(model), model, algorithm, rows).peak


def workload(setup: Setup, case: Case, model: ModelConfig, algorithm: AlgorithmConfig) -> Workload | None:
    """The case as the planner sees it, or None if it does not list this GPU."""
    shape = shape_of(config_of(model))
    return Workload(gpu_named(setup.gpu), shape, model, algorithm, AT_LIMIT) if setup.gpu else None


def measure_case(
    setup: Setup, case: Case, model: ModelConfig, algorithm: AlgorithmConfig, work: Workload | None, peak: float
) -> Iterator[Measurement]:
    info = RankInfo("actor", 0, 1, "", setup.device, None)
    topology = TopologyConfig(offload_actor=case.optimizer == "adamw")
    actor = RandomActor(model, algorithm, topology, 10, info)
    batch = random_batch(model, actor.model.config.vocab_size, MICRO_BATCHES * case.rows)
    actor.update(batch)  # allocates the optimizer's state
    if setup.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        actor.update(batch)
        used = torch.cuda.max_memory_allocated()
        close = abs(used / peak - 1) <= MEMORY_BOUND
        yield Measurement(f"{case}: peak", used / GIB, "GiB", peak / GIB, close)
        yield Measurement(f"{case}: peak reserved by the allocator", torch.cuda.max_memory_reserved() / GIB, "GiB")
    _, seconds = setup.timed(lambda: actor.update(batch))
    micro, checkpointing = algorithm.micro_batch_tokens, case.checkpointing
    planned = update_seconds(work, 1, micro, checkpointing) if work else None
    yield Measurement(f"{case}: update", seconds, "s", planned)
    yield Measurement(f"{case}: speed of the update", batch.input_ids.numel() / seconds, "tokens/s")
    actor.logprobs(batch)  # loads kernels
    _, forward = setup.timed(lambda: actor.logprobs(batch))
    passes = algorithm.uses_reference + algorithm.needs_old_logprobs
    planned = logprobs_seconds(work, 1, micro) / passes if work and passes else None
    yield Measurement(f"{case}: log-probs", forward, "s", planned)
    if work is not None:
        yield from rates(setup, case, work, actor, seconds, forward)
    if actor.can_offload and not case.lora_rank:
        yield from moves(setup, case, work, actor)


def rates(
    setup: Setup, case: Case, work: Workload, actor: Actor, update: float, forward: float
) -> Iterator[Measurement]:
    """Arithmetic rates; those of the typical cases also as fractions of the data sheet, for the planner."""
    flops = (1 + (1 if case.lora_rank else 2) + case.checkpointing) * work.forward_flops
    yield Measurement(f"{case}: rate of the update", flops / update / 1e12, "TFLOP/s")
    yield Measurement(f"{case}: rate of the log-probs", work.forward_flops / forward / 1e12, "TFLOP/s")
    peak, default = work.gpu.tflops * 1e12, Efficiencies()
    if case == TYPICAL_LORA:
        yield Measurement("lora_flops", flops / update / peak, "", default.lora_flops)
    if case != TYPICAL:
        return
    for parameter in actor.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    _, step = setup.timed(actor.optimizer.step)
    actor.optimizer.zero_grad()
    touched = OPTIMIZER_BYTES * work.shape.parameters / step / (work.gpu.bandwidth_gbs * 1e9)
    yield Measurement("touch_bandwidth", touched, "", default.touch_bandwidth)
    yield Measurement("forward_flops", work.forward_flops / forward / peak, "", default.forward_flops)
    yield Measurement("train_flops", flops / (update - step) / peak, "", default.train_flops)


def moves(setup: Setup, case: Case, work: Workload | None, actor: Actor) -> Iterator[Measurement]:
    """Offload the weights and the optimizer's state to host memory, and bring them back."""
    kept = torch.cuda.memory_allocated() if setup.on_gpu else 0
    actor.offload()  # allocates the host's memory
    actor.onload()
    _, down = setup.timed(actor.offload)
    left = torch.cuda.memory_allocated() if setup.on_gpu else 0
    _, up = setup.timed(actor.onload)
    moved = kept - left
    planned = to_host_and_back_seconds(work, moved) / 2 if work else None
    yield Measurement(f"{case}: offload", down, "s", planned)
    yield Measurement(f"{case}: onload", up, "s", planned)
    if setup.on_gpu:
        yield Measurement(f"{case}: left on the GPU", left / GIB, "GiB", 0.0, left < 0.1 * GIB)
    if work is not None and case == TYPICAL:
        reached = 2 * moved / (down + up) / (work.gpu.host_gbs * 1e9)
        yield Measurement("host_bandwidth", reached, "", Efficiencies().host_bandwidth)

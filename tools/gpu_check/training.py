"""Whole runs of train_grpo.py, as a user starts them.

The tiny model learns countdown in bfloat16: its accuracy on held-out problems must rise. After 20 steps or more an
accuracy that does not rise means that the sampler does not use the trained weights, or that the gradient is wrong.

Then a model with random weights and TinyZero's 1.5B shape, without network: its seconds by phase and its memory beside
the planner's. Its completions end at their limit, twice as long as a plan assumes, so the planned seconds of the passes
are those of the measured lengths. The run is killed before its first checkpoint, which would have 21 GB.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from conf.schema import Config
from tools.doctor.requirements import micro_batch_rows, requirements
from tools.gpu_check.runs import RunEnded, gpu_memory_used, tiny_run, training_run
from tools.gpu_check.stage import GIB, Measurement, Setup
from tools.planner import roofline
from tools.planner.efficiencies import AT_LIMIT, Efficiencies
from tools.planner.hardware import GpuSpec, gpu_named
from tools.planner.memory import actor_memory
from tools.planner.roofline import Workload
from tools.planner.shape import config_of, shape_of

RESERVED_SECONDS = 15.0  # for the imports before this stage's clock starts, and for ending the last run
LEARNING_STEPS = 20  # after which the accuracy must have risen
LEARNING_SHARE = 0.45  # of the stage's time, for the tiny model
BIG_MODEL = "qwen-1.5b"
BIG_SECONDS = 150.0  # until the first step of the large run has ended
NEVER = 10**6

Row = Mapping[str, Any]


def measure(setup: Setup) -> Iterator[Measurement]:
    start = time.monotonic()
    end = start + setup.seconds - RESERVED_SECONDS
    yield from unless_it_ends("tiny", learning(setup, start + LEARNING_SHARE * (end - start) if setup.on_gpu else end))
    left = end - time.monotonic()
    if setup.on_gpu and left < BIG_SECONDS:
        yield Measurement(BIG_MODEL, f"skipped: it needs {BIG_SECONDS:.0f} s, {left:.0f} s are left")
    elif setup.on_gpu:
        yield from unless_it_ends(BIG_MODEL, large_run(setup, end))


def unless_it_ends(name: str, measurements: Iterator[Measurement]) -> Iterator[Measurement]:
    """Report a run that ended by itself as failed, and go on."""
    try:
        yield from measurements
    except RunEnded as error:
        yield Measurement(f"{name}: the run", str(error), passed=False)


def learning(setup: Setup, end: float) -> Iterator[Measurement]:
    """The tiny model, until its last step or until `end`."""
    steps = 40 if setup.on_gpu else 3
    evaluation = ["evaluation.num_problems=256", "evaluation.interim_problems=256", "evaluation.every=10"]
    if not setup.on_gpu:
        evaluation = ["evaluation.num_problems=16", "evaluation.every=2", "evaluation.interim_problems=16"]
        evaluation += ["algorithm.num_prompts=4", "model.max_completion_tokens=64"]
    overrides = [*tiny_run(setup), f"num_steps={steps}", f"checkpoint.every={NEVER}", *evaluation]
    with training_run(setup, "tiny", *overrides) as run:
        if run.wait(lambda: bool(run.steps), end):
            yield Measurement("tiny: seconds to the end of the first step", run.age, "s")
        run.wait(lambda: len(run.steps) == steps and run.process.poll() is not None, end)
        rows, done = run.folder.metric_rows(), run.steps
    yield Measurement("tiny: steps", len(done), passed=len(done) > 0)
    yield from accuracies(rows, len(done))
    for phase, seconds in mean_seconds(done).items():
        yield Measurement(f"tiny: {phase}", seconds, "s/step")
    for name in ("mismatch/ratio_p01", "mismatch/ratio_p50", "mismatch/ratio_p99", "mismatch/max_gap"):
        values = [row[name] for row in done]
        if values:
            yield Measurement(f"tiny: {name}, mean over steps", mean(values))
    yield from rollout_speed("tiny", done)


def accuracies(rows: Sequence[Row], steps: int) -> Iterator[Measurement]:
    """The first and the last held-out accuracy; the latter passes if it is larger, after enough steps."""
    evaluated = [row for row in rows if "eval/sampled" in row]
    if evaluated:
        first, last = evaluated[0], evaluated[-1]
        yield Measurement(f"tiny: held-out accuracy at step {first['step']}", first["eval/sampled"])
        rises = None if steps < LEARNING_STEPS else last["eval/sampled"] > first["eval/sampled"]
        yield Measurement(f"tiny: held-out accuracy at step {last['step']}", last["eval/sampled"], passed=rises)


def rollout_speed(name: str, rows: Sequence[Row]) -> Iterator[Measurement]:
    generated = [row["rollout/tokens"] / row["time/generate"] for row in warm(rows)]
    if generated:
        yield Measurement(f"{name}: generated tokens", mean(generated), "tokens/s")


def warm(rows: Sequence[Row]) -> Sequence[Row]:
    """All steps but the first, which compiles kernels and allocates memory, if there are several."""
    return rows[1:] or rows


def mean_seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Mean seconds by phase, and of the whole step, which does not include evaluations."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("time/"))
    names.pop("time/evaluate", None)
    return {name: mean(row.get(name, 0.0) for row in warm(rows)) for name in names}


def large_run(setup: Setup, end: float) -> Iterator[Measurement]:
    overrides = large_settings(setup)
    cfg = setup.config(*overrides, model=BIG_MODEL)
    gpu = gpu_named(setup.gpu) if setup.gpu else None
    with training_run(setup, BIG_MODEL, *overrides) as run, watching_memory() as peak:
        on_gpu, of_actor = planned_gib(cfg, gpu) if gpu else (None, None)
        if run.wait(lambda: bool(run.steps), end):
            yield Measurement(f"{BIG_MODEL}: to the end of the first step", run.age, "s")
        run.wait(lambda: False, end)
        rows = run.steps
    yield Measurement(f"{BIG_MODEL}: steps", len(rows), passed=len(rows) > 0)
    yield Measurement(f"{BIG_MODEL}: GPU memory, largest", peak.gib, "GiB", on_gpu)
    if rows:
        yield Measurement(f"{BIG_MODEL}: GPU memory of the actor", rows[-1]["policy/gpu_gb"], "GiB", of_actor)
        yield from phases(cfg, gpu, rows)
        yield from rollout_speed(BIG_MODEL, rows)


def large_settings(setup: Setup) -> list[str]:
    """TinyZero's settings without its dataset, which would need the network."""
    model = [f"model.path={setup.random_model(BIG_MODEL)}", "model.local_path=null", "model.prompt_style=tiny"]
    task = ["env.data=null", "env.num_numbers=[3]", "env.max_number=20", "env.max_value=200", 'env.operations="+-*"']
    where = ["topology=one_gpu", "topology.offload_reference=false", "algorithm.micro_batch_tokens=15360"]
    length = ["num_steps=50", f"checkpoint.every={NEVER}", "evaluation.num_problems=16", "evaluation.every=0"]
    return ["experiment=tinyzero_countdown_1.5b", *model, *task, *where, *length]


def phases(cfg: Config, gpu: GpuSpec | None, rows: Sequence[Row]) -> Iterator[Measurement]:
    """Mean seconds by phase beside the planner's."""
    lengths = mean(row["rollout/tokens"] for row in warm(rows)) / cfg.algorithm.num_completions
    yield Measurement(
        f"{BIG_MODEL}: tokens of a completion",
        lengths,
        planned=Efficiencies().mean_completion * cfg.model.max_completion_tokens,
    )
    planned = planned_seconds(cfg, gpu, lengths) if gpu else {}
    for name, seconds in mean_seconds(rows).items():
        yield Measurement(f"{BIG_MODEL}: {name}", seconds, "s/step", planned.get(name))


def planned_seconds(cfg: Config, gpu: GpuSpec, completion_tokens: float) -> dict[str, float]:
    """What the planner expects of each phase on one GPU. The actor's log-probabilities before an update count as part
    of it, as they do in the run."""
    model, algorithm, rows = cfg.model, cfg.algorithm, micro_batch_rows(cfg, 1)
    shape = shape_of(config_of(model))
    micro = rows * (model.max_prompt_tokens + model.max_completion_tokens)
    measured = replace(model, max_prompt_tokens=1, max_completion_tokens=round(completion_tokens))  # short prompts
    work = Workload(gpu, shape, measured, algorithm, AT_LIMIT)
    logprobs = roofline.logprobs_seconds(work, 1, micro)
    own = algorithm.needs_old_logprobs / (algorithm.uses_reference + algorithm.needs_old_logprobs)
    update = roofline.update_seconds(work, 1, micro, model.gradient_checkpointing)
    sequences = min(cfg.rollout.max_num_seqs, algorithm.num_completions)
    seconds = {
        "time/generate": roofline.generation_seconds(
            work, algorithm.num_completions, algorithm.num_prompts, 1, sequences
        ),
        "time/logprobs": logprobs * (1 - own),
        "time/update": update + logprobs * own,
        "time/weight_sync": sum(roofline.sync_seconds(work, cfg.topology.weight_transfer, 1).values()),
    }
    return seconds | {"time/step": sum(seconds.values()) + work.efficiencies.step_seconds}


def planned_gib(cfg: Config, gpu: GpuSpec) -> tuple[float, float]:
    """The largest memory in GiB that the planner expects of the whole GPU, and of the actor's tensors."""
    needed = requirements(cfg, [(gpu.name, gpu.memory_mib)])
    actor = actor_memory(config_of(cfg.model), cfg.model, cfg.algorithm, micro_batch_rows(cfg, 1))
    return max(needed.training, needed.generating), actor.peak / GIB


@dataclass
class Peak:
    """gib: the largest GPU memory in use so far, of all processes."""

    gib: float = 0.0


@contextmanager
def watching_memory() -> Iterator[Peak]:
    """Poll the memory of the GPU in the background."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            peak.gib = max(peak.gib, gpu_memory_used())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()

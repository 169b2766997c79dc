"""What a run survives: a rollout replica is killed, then its actor, and at last the run itself is asked to stop.

After each death the run must make further steps, and after the death of the actor it must have resumed from a
checkpoint. After SIGTERM it must write a checkpoint of its last step and exit with code 0. When it has ended, the GPU's
memory in use must be what it was before the start, within 0.3 GiB. What does not fit in the stage's time is skipped.
"""

import signal
import time
from collections.abc import Iterator

from tools.gpu_check.runs import TrainingRun, gpu_memory_used, tiny_run, training_run
from tools.gpu_check.stage import Measurement, Setup
from workers.checkpoint import newest_intact, step_of

RESERVED_SECONDS = 10.0  # for the imports before this stage's clock starts, and for ending the run
STOP_SECONDS = 30.0  # that are kept for the checkpoint and the end of the run
STEPS_BEFORE = 3  # that a run makes before a worker is killed
PATIENCE = 1.5  # a recovery may take so many times the seconds of the start
RELEASE_SECONDS = 5.0  # within which the driver must have released the memory of ended processes
NEVER_ENDS = 10**6
LEFT_GIB = 0.3


def measure(setup: Setup) -> Iterator[Measurement]:
    end = time.monotonic() + setup.seconds - RESERVED_SECONDS
    before = gpu_memory_used() if setup.on_gpu else 0.0
    with training_run(setup, "recovery", *settings(setup)) as run:
        in_time = run.wait(lambda: bool(run.steps), end - STOP_SECONDS)
        start_seconds = run.age
        yield Measurement("start, to the end of the first step", start_seconds, "s", passed=in_time)
        for role in ("rollout", "actor"):
            yield from recovered(run, role, start_seconds, end - STOP_SECONDS)
        yield from stopped(run, end)
    if setup.on_gpu:
        yield from left_in_use(before)


def settings(setup: Setup) -> list[str]:
    small = [
        "algorithm.num_prompts=4",
        "algorithm.group_size=4",
        "model.max_completion_tokens=64",
    ]
    evaluation = ["evaluation.num_problems=16", "evaluation.every=0"]
    return [*tiny_run(setup), f"num_steps={NEVER_ENDS}", "checkpoint.every=2", *small, *evaluation]


def recovered(run: TrainingRun, role: str, start_seconds: float, end: float) -> Iterator[Measurement]:
    """Kill a worker and wait for a step that the run had not reached. A recovery may start all workers again, so it is
    skipped if less time is left than that takes."""
    wanted = next_step(run) + STEPS_BEFORE
    run.wait(lambda: next_step(run) >= wanted, end)
    if end - time.monotonic() < PATIENCE * start_seconds:
        yield Measurement(f"{role} killed", f"skipped: {max(0.0, end - time.monotonic()):.0f} s are left")
        return
    killed, reached, resumes = time.monotonic(), next_step(run), count_resumes(run)
    run.worker(role).kill()
    # The worker may die after the end of a step whose line was not written yet.
    goes_on = run.wait(lambda: next_step(run) > reached + 1, end)
    yield Measurement(f"{role} killed: to the next new step", time.monotonic() - killed, "s", passed=goes_on)
    if role == "actor":
        resumed = count_resumes(run) > resumes
        yield Measurement("actor killed: resumed from a checkpoint", "yes" if resumed else "no", passed=resumed)


def count_resumes(run: TrainingRun) -> int:
    """How often the run has read a checkpoint."""
    return " ".join(run.output.split()).count("resuming from outputs/")


def next_step(run: TrainingRun) -> int:
    """The number of steps that the run has made."""
    return max((row["step"] + 1 for row in run.steps), default=0)


def stopped(run: TrainingRun, end: float) -> Iterator[Measurement]:
    """SIGTERM while the run generates or trains."""
    asked = time.monotonic()
    run.process.send_signal(signal.SIGTERM)
    while run.process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    code = run.process.poll()
    yield Measurement("SIGTERM: to the exit", time.monotonic() - asked, "s", passed=code == 0)
    path = newest_intact(run.folder.checkpoints, print)
    step = step_of(path) if path is not None else 0
    wanted = next_step(run)
    yield Measurement("SIGTERM: step of the checkpoint", step, planned=wanted, passed=step == wanted)


def left_in_use(before: float) -> Iterator[Measurement]:
    """The memory of the GPU in use beyond `before`, in GiB."""
    end = time.monotonic() + RELEASE_SECONDS
    while (left := gpu_memory_used() - before) >= LEFT_GIB and time.monotonic() < end:
        time.sleep(0.2)
    yield Measurement("GPU memory left in use", left, "GiB", passed=left < LEFT_GIB)

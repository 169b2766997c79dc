"""Run a sweep: train_grpo.py once for each combination of settings, each in its own process.

    make sweep SWEEP=algorithms                                    # conf/sweep/algorithms.yaml
    python -m tools.sweep algorithm.group_size=4,8 seed=0,1 num_steps=20

Hydra's multirun creates the jobs and its launcher runs them, by default one after another. A job is the run
sweeps/<sweep>/<job>; the report is outputs/sweeps/<sweep>/sweep.md.
"""

import argparse
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from conf.launch import checking_settings, launch, settings_of
from conf.schema import Config
from envs.mixed import stored_problems
from grpo.types import sha256_of_problems
from report.sweep import reason, write_report
from report.sweep_results import (
    FAILED,
    FINISHED,
    OVER_BUDGET,
    RUNNING,
    STOPPED,
    Job,
    read_jobs,
    read_plan,
    read_result,
    write_plan,
)
from run.files import read_json, read_yaml
from run.folder import RunFolder
from run.lock import lock
from tools.sweep.plan import CONF, plan_sweep

TRAINER = CONF.parent / "train_grpo.py"
POLL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """The user's request to stop, stored as a file in the sweep's folder, so that jobs see it in any process and on any
    machine. The file has one byte per request."""

    def __init__(self, sweep_folder: Path) -> None:
        self.path = sweep_folder / "stop"

    def count(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Treat Ctrl-C, SIGTERM and a closed terminal as a request to stop.

        A Ctrl-C reaches all processes of the terminal. Those that a launcher starts inherit the blocked signals and
        survive it; a thread that was started before the signals were blocked still receives them for this process.
        """
        self.path.unlink(missing_ok=True)
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        before = {n: handler for n, handler in handlers.items() if handler != signal.SIG_IGN}  # as nohup sets it
        for number in before:
            signal.signal(number, self._ask)
        done = threading.Event()
        threading.Thread(target=done.wait, daemon=True).start()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            done.set()
            for number, handler in before.items():
                signal.signal(number, handler)
            self.path.unlink(missing_ok=True)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("x")
        # print() may not be called again while the signal interrupts a print().
        os.write(2, b"\nstopping once the running job has written its checkpoint; press Ctrl-C again to kill it\n")


def run_job(raw: DictConfig, overrides: Sequence[str]) -> str:
    """Run the job with these overrides, unless it has already finished, and return its status."""
    folder = Path("outputs", "sweeps", raw.sweep.name)
    plan, given = read_plan(folder), dict(override.split("=", maxsplit=1) for override in overrides)
    number, job = next((i, job) for i, job in enumerate(plan, 1) if job.overrides.items() <= given.items())
    run, stop, title = RunFolder(folder / job.name), StopRequest(folder), f"[{number}/{len(plan)}] {job.name}"
    if ended_before(raw, job, run):
        outcome = "skipped, already finished" if job.status == FINISHED else f"failed; see {run.path / 'job.log'}"
        print(f"{title} {outcome}", flush=True)
    elif stop.count():
        job.status = STOPPED if run.path.is_dir() else job.status
    else:
        print(f"{title} ...", flush=True)
        started = time.monotonic()
        job.status = RUNNING
        job.write(folder)
        job.exit_code = train(job, overrides, run.path, stop)
        finished = job.exit_code == 0 and run.is_finished(raw.num_steps, raw.num_tokens)
        by_user = job.exit_code == 0 or stop.count()
        job.status = FINISHED if finished else STOPPED if by_user else FAILED
        # A run that is stopped writes no summary.
        if job.status == STOPPED and not stop.count() and raw.budget.usd is not None and run.summary.is_file():
            job.status = OVER_BUDGET
        print_end(job, run, title, time.monotonic() - started)
    if run.path.is_dir():
        job.write(folder)
    return job.status


def ended_before(raw: DictConfig, job: Job, run: RunFolder) -> bool:
    """Whether an earlier start of the sweep has finished the job, whose status becomes that. It has failed if its files
    are damaged, if it ran with settings other than those of this sweep, or if it trained for longer."""
    raw.run, raw.tracker.group = f"sweeps/{job.sweep}/{job.name}", job.sweep
    settings = cast("dict[str, Any]", OmegaConf.to_container(raw, resolve=True))
    try:
        if not run.is_finished(raw.num_steps, raw.num_tokens):
            return False
        do = f"remove {run.path} to run the job again"
        before, trained = read_yaml(run.config, do), read_json(run.summary, do)
        for key, done in (("num_steps", trained["steps"]), ("num_tokens", trained["tokens"])):
            limit, now = (math.inf if each.get(key) is None else each[key] for each in (before, settings))
            if limit > now and done > now:
                raise ValueError(
                    f"{run.path} was trained with {key}={before.get(key)}, but now {key}={now}; choose another "
                    f"sweep.name=NAME, or {do}"
                )
        env = settings_of(raw, Config).env
        settings["problems"] = {"sha256": sha256_of_problems(stored_problems(env))}
        run.claim(settings, "sweep.name=NAME")
        job.status = FINISHED
    except ValueError as error:
        with (run.path / "job.log").open("a", encoding="utf-8") as file:
            file.write(f"error: {error}\n")
        job.status, job.exit_code = FAILED, 2
    return True


def train(job: Job, overrides: Sequence[str], folder: Path, stop: StopRequest) -> int:
    """Run train_grpo.py with its output in job.log, and return its exit code.

    The first request to stop sends SIGTERM, on which the trainer writes a checkpoint; the second one sends SIGKILL."""
    run = f"sweeps/{job.sweep}/{job.name}"
    command = [sys.executable, str(TRAINER), *overrides, f"run={run}", f"tracker.group={job.sweep}", "hydra.mode=RUN"]
    leave_signals_to_the_sweep()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the child process must receive them
    try:
        with (folder / "job.log").open("ab") as log:
            # A session of its own keeps Ctrl-C away from the child, which treats a second signal as a request to quit.
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    sent = 0
    while child.poll() is None:
        if sent < 1 and stop.count():
            child.terminate()
            sent = 1
        if sent < 2 and stop.count() > 1:
            end_group(child.pid)
            sent = 2
        time.sleep(POLL_SECONDS)
    if child.returncode:
        end_group(child.pid)  # processes that a crash leaves behind would occupy memory
    return child.returncode


def leave_signals_to_the_sweep() -> None:
    """Replace default signal handlers by ones that do nothing.

    A worker of a parallel launcher has no handlers of its own and would die of a Ctrl-C that reaches the whole process
    group; it learns of the request to stop from the file. (SIG_IGN would be inherited by the trainer.)"""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    for number, default in defaults.items():
        if signal.getsignal(number) == default:
            signal.signal(number, lambda number, frame: None)


def end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def print_end(job: Job, run: RunFolder, title: str, seconds: float) -> None:
    log = run.path / "job.log"
    if job.status == FINISHED:
        outcome = f"{read_result(job, run).accuracy('final'):.1%} in {seconds / 60:.1f} min"
    elif job.status == STOPPED:
        outcome = "stopped; run the same command to resume it"
    elif job.status == OVER_BUDGET:
        outcome = OVER_BUDGET
    else:
        outcome = f"{reason(job, log)}; see {log}"
    print(f"{title} {outcome}", flush=True)


@hydra.main(version_base=None, config_path=str(CONF), config_name="config")
def run_this(raw: DictConfig) -> str:
    """Called by Hydra's launcher for each job, possibly in another process."""
    return run_job(raw, list(HydraConfig.get().overrides.task))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "overrides", nargs="+", help="Hydra overrides, at least one with several values, such as seed=0,1"
    )
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="accepted for Hydra's sake; a sweep always is a multirun"
    )
    overrides = parser.parse_args().overrides
    with checking_settings():
        jobs = plan_sweep(overrides)
    folder = Path("outputs", "sweeps", jobs[0].sweep)
    with checking_settings():
        held = lock(folder, "choose another sweep.name=NAME")
        write_plan(folder, jobs)
    # sweep.subdir "." keeps Hydra from creating a second folder per job.
    folders = [f"sweep.name={jobs[0].sweep}", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=."]
    sys.argv[1:] = ["--multirun", *overrides, *folders]
    with StopRequest(folder).listening():
        launch(run_this, Config)
    with checking_settings():
        print(f"\n{write_report(folder)}\n{folder / 'sweep.md'}")
        names = {job.name for job in jobs}
        if any(job.status == FAILED and job.name in names for job in read_jobs(folder)):
            raise SystemExit(1)
    held.close()


if __name__ == "__main__":
    main()

"""A sweep: train_grpo.py once for each combination of settings, each in a process of its own.

    make sweep SWEEP=algorithms                                    # conf/sweep/algorithms.yaml
    python -m tools.sweep algorithm.group_size=4,8 seed=0,1 num_steps=20

Hydra's multirun makes the jobs and its launcher runs them, one after another unless told otherwise.
A job is the run sweeps/<sweep>/<job>; the report lies in outputs/sweeps/<sweep>/sweep.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from conf.launch import checking_settings, launch
from conf.schema import Config
from conf.sweep_plan import CONF, plan_sweep
from report.sweep import reason, write_report
from report.sweep_results import FAILED, FINISHED, RUNNING, STOPPED, Job, read_jobs, read_plan, write_plan
from run.folder import RunFolder

TRAINER = CONF.parent / "train_grpo.py"
POLL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """A request to stop, as a file in the sweep's folder that all jobs see, in whatever process or on
    whatever machine they run. It holds a byte for each time the user asked."""

    def __init__(self, sweep_folder: Path) -> None:
        self.path = sweep_folder / "stop"

    def asked(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C, SIGTERM and a closed terminal for a request to stop.

        The processes that a launcher starts inherit the blocked signals, and so outlive a Ctrl-C, which
        goes to all of them; a thread that was there before still hears the signals for this process."""
        self.path.unlink(missing_ok=True)
        before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}  # as nohup sets it
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
        os.write(2, b"\nstopping when the running job has written its checkpoint; once more ends it at once\n")


def run_job(raw: DictConfig, overrides: Sequence[str]) -> str:
    """Run the job that these overrides make, unless it has finished before; returns its status."""
    folder = Path("outputs", "sweeps", raw.sweep.name)
    plan, given = read_plan(folder), dict(override.split("=", maxsplit=1) for override in overrides)
    place, job = next((i, job) for i, job in enumerate(plan, 1) if job.overrides.items() <= given.items())
    run, stop, title = RunFolder(folder / job.name), Stop(folder), f"[{place}/{len(plan)}] {job.name}"
    if run.is_finished(raw.num_steps, raw.num_tokens):
        return finished_before(raw, job, run, title)
    if stop.asked():
        job.status = STOPPED if run.path.is_dir() else job.status
    else:
        print(f"{title} ...", flush=True)
        started = time.monotonic()
        job.status = RUNNING
        job.write(folder)
        job.exit_code = train(job, overrides, run.path, stop)
        finished = job.exit_code == 0 and run.is_finished(raw.num_steps, raw.num_tokens)
        by_user = job.exit_code == 0 or stop.asked()
        job.status = FINISHED if finished else STOPPED if by_user else FAILED
        say_end(job, run, title, time.monotonic() - started)
    if run.path.is_dir():
        job.write(folder)
    return job.status


def finished_before(raw: DictConfig, job: Job, run: RunFolder, title: str) -> str:
    """A finished job counts only if it was run with the settings of this sweep."""
    raw.run, raw.tracker.group = f"sweeps/{job.sweep}/{job.name}", job.sweep
    settings: Any = OmegaConf.to_container(raw, resolve=True)
    try:
        run.claim(settings)
        job.status, said = FINISHED, "finished before, skipped"
    except ValueError as error:
        log = run.path / "job.log"
        with log.open("a", encoding="utf-8") as file:
            file.write(f"error: {error}\n")
        job.status, job.exit_code, said = FAILED, 2, f"failed, see {log}"
    job.write(run.path.parent)
    print(f"{title} {said}", flush=True)
    return job.status


def train(job: Job, overrides: Sequence[str], folder: Path, stop: Stop) -> int:
    """Run train_grpo.py to its end, with its output in job.log; returns its exit code.

    Asked to stop, it gets SIGTERM, upon which it writes a checkpoint; asked again, SIGKILL."""
    run = f"sweeps/{job.sweep}/{job.name}"
    command = [sys.executable, str(TRAINER), *overrides, f"run={run}", f"tracker.group={job.sweep}", "hydra.mode=RUN"]
    leave_signals_to_the_sweep()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the child is to hear them
    try:
        with (folder / "job.log").open("ab") as log:
            # In a session of its own it gets no Ctrl-C beside the SIGTERM: two would kill it.
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    told = 0
    while child.poll() is None:
        if told < 1 and stop.asked():
            child.terminate()
            told = 1
        if told < 2 and stop.asked() > 1:
            end_group(child.pid)
            told = 2
        time.sleep(POLL_SECONDS)
    if child.returncode:
        end_group(child.pid)  # what a crash leaves behind would keep memory from the next job
    return child.returncode


def leave_signals_to_the_sweep() -> None:
    """A worker of a parallel launcher, which sets no handlers itself, is not to die of a Ctrl-C that
    the whole group gets: the file tells it to stop. (To ignore a signal would be inherited.)"""
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


def say_end(job: Job, run: RunFolder, title: str, seconds: float) -> None:
    log = run.path / "job.log"
    if job.status == FINISHED:
        accuracy = json.loads(run.summary.read_text(encoding="utf-8"))["accuracy"]["final"]["sampled"]
        said = f"{accuracy:.1%} in {seconds / 60:.1f} min"
    elif job.status == STOPPED:
        said = "stopped; the same command goes on with it"
    else:
        said = f"{reason(job, log)}; see {log}"
    print(f"{title} {said}", flush=True)


@hydra.main(version_base=None, config_path=str(CONF), config_name="config")
def run_this(raw: DictConfig) -> str:
    """What Hydra's launcher calls for each job, maybe in another process."""
    return run_job(raw, list(HydraConfig.get().overrides.task))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="of Hydra; at least one gives several values, as seed=0,1")
    parser.add_argument("-m", "--multirun", action="store_true", help="as Hydra names it; a sweep always is one")
    overrides = parser.parse_args().overrides
    with checking_settings():
        jobs = [Job(**asdict(planned)) for planned in plan_sweep(overrides)]
    folder = Path("outputs", "sweeps", jobs[0].sweep)
    write_plan(folder, jobs)
    # sweep.subdir "." keeps Hydra from making a folder a job beside those of the runs.
    places = [f"sweep.name={jobs[0].sweep}", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=."]
    sys.argv[1:] = ["--multirun", *overrides, *places]
    with Stop(folder).listening():
        launch(run_this, Config)
    print(f"\n{write_report(folder)}\n{folder / 'sweep.md'}")
    planned = {job.name for job in jobs}
    if any(job.status == FAILED and job.name in planned for job in read_jobs(folder)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

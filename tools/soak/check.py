"""One trial: the disturbed run, the starts that finish it, and what it must be equal to."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import TimeoutExpired

import psutil

from run.folder import RunFolder
from tools.gpu_check.runs import TrainingRun
from tools.soak.compare import differences
from tools.soak.faults import Surprise, full_disk, small_disk
from tools.soak.leftovers import collect_orphans, kill_descendants, left_behind, listening_ports, shared_memory
from tools.soak.runs import POLL_SECONDS, Timing, moment_of, observe, own_ray, process_of, start
from tools.soak.trial import Trial

MAX_STARTS = 4
WAIT_SECONDS = 0.2
UNDISTURBED_SECONDS = 600.0
MIN_TIMEOUT = 20.0  # topology.timeout_s of a disturbed run, in seconds


@dataclass(frozen=True)
class Undisturbed:
    """The run with which all others are compared."""

    folder: RunFolder
    timing: Timing

    @property
    def timeout_s(self) -> float:
        """topology.timeout_s of the disturbed runs: as short as a start on a slower moment of this machine allows."""
        return max(MIN_TIMEOUT, round(2 * self.timing.start))

    @property
    def limit_s(self) -> float:
        """How long one start of a disturbed run may take."""
        return 60 + 4 * self.timing.total + 2 * self.timeout_s


@dataclass
class Result:
    """What became of a trial.

    hit       whether the fault happened before the run ended
    codes     the exit code of each start; negative is a signal
    message   the last line of the disturbed start
    problems  what is not as it must be
    """

    trial: Trial
    hit: bool = False
    codes: list[int] = field(default_factory=list)
    message: str = ""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        if not self.codes or self.codes[-1] != 0:
            return "does not end"
        return "by itself" if len(self.codes) == 1 else "by the same command"


def run_undisturbed(folder: Path, overrides: Sequence[str]) -> Undisturbed:
    """Run once without a fault.

    Raises:
        RuntimeError: it failed, or left something behind.
    """
    folder.mkdir(parents=True)
    before = shared_memory()
    with own_ray():
        run = start(folder, "start_1", overrides)
        try:
            timing = observe(run, time.monotonic() + UNDISTURBED_SECONDS)
            problems = left_behind(run.folder.path, before, set())
        finally:
            kill_descendants()
    if not finished(run):
        raise RuntimeError(f"the undisturbed run ended with code {run.process.returncode}:\n{run.last_lines}")
    if problems:
        raise RuntimeError(f"after the undisturbed run, {'; '.join(problems)}")
    return Undisturbed(run.folder, timing)


def run_trial(trial: Trial, undisturbed: Undisturbed, folder: Path, overrides: Sequence[str]) -> Result:
    """Disturb a run in `folder`, and start it again until it has finished, at most MAX_STARTS times."""
    folder.mkdir(parents=True)
    trial = replace(trial, limit_s=undisturbed.limit_s)
    result, before, started = Result(trial), shared_memory(), time.monotonic()
    overrides = [f"topology.timeout_s={undisturbed.timeout_s:g}", *overrides]
    disk = small_disk(folder / "outputs") if trial.fault is full_disk else nullcontext()
    with disk, own_ray():
        run = start(folder, "start_1", overrides)
        try:
            ports = disturb(run, undisturbed, result)
            while not finished(run) and len(result.codes) < MAX_STARTS:
                run = start(folder, f"start_{len(result.codes) + 1}", overrides)
                result.codes.append(wait(run, undisturbed.limit_s))
            if finished(run):
                result.problems += differences(run.folder, undisturbed.folder)
            else:
                result.problems.append(f"not finished after {len(result.codes)} starts: {last_line(run)}")
            result.problems += left_behind(run.folder.path, before, ports)
        except TimeoutExpired:
            result.problems.append(f"start {len(result.codes) + 1} did not end in {undisturbed.limit_s:.0f} s")
        finally:
            kill_descendants()
    result.seconds = time.monotonic() - started
    return result


def disturb(run: TrainingRun, undisturbed: Undisturbed, result: Result) -> set[int]:
    """Let the fault happen at its moment, and wait until the run has ended. Returns the ports on which the run's
    processes listened at that moment."""
    trial, ports = result.trial, set[int]()
    try:
        if wait_for_moment(run, trial, undisturbed.timing):
            ports = listening_ports()
            with trial.fault(run, trial):
                result.hit = True
                wait(run, undisturbed.limit_s)
    except psutil.NoSuchProcess:
        result.hit = False  # the process has just ended
    except Surprise as error:
        result.problems.append(str(error))
    result.codes.append(wait(run, undisturbed.limit_s))
    result.message = last_line(run)
    return ports


def wait_for_moment(run: TrainingRun, trial: Trial, timing: Timing) -> bool:
    """Wait for the trial's moment and then for its process, if that does not exist yet; return False if the run ends
    first."""

    def is_now() -> bool:
        if trial.moment == "start":
            return run.age >= trial.fraction * timing.start
        return moment_of(run) == trial.moment and len(run.steps) >= trial.step

    while not is_now():
        if run.process.poll() is not None:
            return False
        time.sleep(POLL_SECONDS)
    time.sleep(trial.fraction * timing.durations.get(trial.moment, 0.0))
    while process_of(run, trial.target or "driver") is None:
        if run.process.poll() is not None:
            return False
        time.sleep(POLL_SECONDS)
    return run.process.poll() is None


def wait(run: TrainingRun, seconds: float) -> int:
    """Wait for the end of a start and return its exit code; raises TimeoutExpired after `seconds`."""
    end = time.monotonic() + seconds
    while (code := run.process.poll()) is None:
        if time.monotonic() > end:
            raise TimeoutExpired(run.process.args, seconds)
        collect_orphans()
        time.sleep(WAIT_SECONDS)
    return code


def finished(run: TrainingRun) -> bool:
    return run.process.returncode == 0 and run.folder.summary.is_file()


def last_line(run: TrainingRun) -> str:
    lines = [line.strip() for line in run.output.splitlines() if line.strip()]
    return lines[-1] if lines else ""

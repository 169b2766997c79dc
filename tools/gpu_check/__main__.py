"""Prove that a GPU machine and this program work together, in minutes and without network.

    make gpu-check                                # about 15 minutes
    make gpu-check MODEL=qwen-1.5b MINUTES=20

Every stage is a process of its own: one that fails or takes too long does not stop the others. Results are written to
outputs/gpu-check after each stage. The exit code is 1 if a stage failed, else 0.
"""

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from conf.compose import compose_config
from conf.launch import checking_settings
from grpo.settings import above
from run.files import empty_folder
from tools.gpu_check.report import Report, StageResult, show_stage, write_report
from tools.gpu_check.runs import kill
from tools.gpu_check.stage import ROLLOUT_RUN, Setup, read_measurements, write_measurements
from tools.planner.hardware import GPUS
from workers.session import free_shared_memory

# Each stage's share of the time; a stage that ends early leaves the rest to those after it.
SHARES = {
    "device": 0.05,
    "actor": 0.13,
    "precision": 0.06,
    "ranks": 0.05,
    "rollout": 0.21,
    "training": 0.33,
    "recovery": 0.17,
}
LAST_LINES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="qwen-0.5b", help="a name in conf/model (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=15.0, help="time for all stages (default: %(default)s)")
    parser.add_argument("--stages", default=",".join(SHARES), help="the stages to run (default: all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "cpu"))
    parser.add_argument("--output", type=Path, default=Path("outputs/gpu-check"))
    parser.add_argument("--run-stage", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run_stage:
        run_stage(args)
    else:
        run_check(args)


def run_check(args: argparse.Namespace) -> None:
    """Run the stages one after the other and report each of them as it ends."""
    names = args.stages.split(",")
    unknown = sorted(set(names) - set(SHARES))
    if unknown:
        raise SystemExit(f"--stages={args.stages}: {', '.join(unknown)} unknown; allowed are {', '.join(SHARES)}")
    with checking_settings():
        above("--minutes", args.minutes, 0)
        compose_config([f"model={args.model}"])
        empty_folder(args.output, "report.json")
    console, report = Console(), Report.of_this_machine(args.model, args.device, args.minutes)
    end = time.monotonic() + 60 * args.minutes
    for position, name in enumerate(names):
        share = SHARES[name] / sum(SHARES[other] for other in names[position:])
        seconds = max(0.0, end - time.monotonic()) * share
        result = run_in_process(name, args, seconds)
        report.stages.append(result)
        write_report(report, args.output)
        show_stage(console, result)
    console.print(f"report: {args.output}/report.json, {args.output}/report.html")
    if any(stage.status != "passed" for stage in report.stages):
        raise SystemExit(1)


def run_in_process(name: str, args: argparse.Namespace, seconds: float) -> StageResult:
    """Run a stage in a process group of its own. When it or its time is over, end what is left of it, and free the
    shared memory of its runs."""
    start = time.monotonic()
    log = args.output / f"{name}.log"
    command = [sys.executable, "-m", "tools.gpu_check", "--run-stage", "--stages", name, "--model", args.model]
    command += ["--device", args.device, "--minutes", str(seconds / 60), "--output", str(args.output)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill_group(process)
            for run in (Path("outputs", ROLLOUT_RUN), *args.output.glob(f"{name}/outputs/*")):
                free_shared_memory(run)
    measurements = read_measurements(args.output / f"{name}.jsonl")
    problem = None
    if code is None:
        problem = f"did not finish within {seconds:.0f} s"
    elif code != 0 and all(each.passed is not False for each in measurements):
        problem = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
    failed = problem is not None or code != 0
    return StageResult(name, "failed" if failed else "passed", time.monotonic() - start, measurements, problem)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the stage, so that the next one finds the GPU free: its descendants, and what it orphaned."""
    kill(process)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run_stage(args: argparse.Namespace) -> None:
    """The stage's own process."""
    folder = args.output / args.stages
    folder.mkdir(parents=True, exist_ok=True)
    gpu = torch.cuda.get_device_name(0) if args.device == "cuda" else ""
    listed = next((name for name, spec in GPUS.items() if spec.name == gpu), None)
    setup = Setup(args.device, args.model, listed, folder.absolute(), 60 * args.minutes)
    stage = importlib.import_module(f"tools.gpu_check.{args.stages}")
    if not write_measurements(args.output / f"{args.stages}.jsonl", stage.measure(setup)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

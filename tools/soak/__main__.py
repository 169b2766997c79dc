"""Disturb short runs of the tiny model at random moments, and check that nothing is lost.

    make soak                       # an hour
    make soak MINUTES=2 SEED=7

A run is disturbed once: a process is killed or stopped, the disk is full, a checkpoint is damaged, and so on. If the
run ends because of that, the same command is started again until the run has finished. It must then have the weights
of an undisturbed run to the bit and the same rows in metrics.jsonl and samples.jsonl, and no process, shared memory or
open port may be left. docs/robustness.md lists the faults. Results are written to outputs/soak/soak.json after each
trial; the exit code is 1 if a trial failed, else 0.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from conf.launch import checking_settings
from run.files import empty_folder
from tools.soak.check import Result, run_trial, run_undisturbed
from tools.soak.leftovers import adopt_orphans
from tools.soak.plan import make_trial, possible_kinds
from tools.soak.report import line_of, show_table, write_json


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__, formatter_class=raw)
    parser.add_argument("--minutes", type=float, default=60.0, help="start trials for this long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of faults (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial, to repeat one")
    parser.add_argument("--output", type=Path, default=Path("outputs/soak"))
    parser.add_argument("overrides", nargs="*", help="settings of all runs, such as rollout.backend=transformers")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    adopt_orphans()
    output, end = args.output.resolve(), time.monotonic() + 60 * args.minutes
    with checking_settings():
        empty_folder(output, "soak.json", "undisturbed")
    console, kinds, results = Console(), possible_kinds(), list[Result]()
    try:
        undisturbed = run_undisturbed(output / "undisturbed", args.overrides)
    except (RuntimeError, TimeoutError) as error:
        raise SystemExit(f"error: {error}") from error
    console.print(f"undisturbed: {undisturbed.timing.total:.0f} s, the start {undisturbed.timing.start:.0f} s")
    while not results or time.monotonic() < end:
        trial = make_trial(args.seed, args.first + len(results), kinds)
        folder = output / f"trial_{trial.number:03d}"
        results.append(run_trial(trial, undisturbed, folder, args.overrides))
        console.print(line_of(results[-1]), markup=False, highlight=False, soft_wrap=True)
        write_json(output / "soak.json", args.seed, undisturbed, results)
        if not results[-1].problems:
            shutil.rmtree(folder)
    show_table(console, results)
    raise SystemExit(int(any(result.problems for result in results)))


if __name__ == "__main__":
    main()

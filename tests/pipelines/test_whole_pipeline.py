"""The pipeline r1 with the tiny model, shrunken: real entry points, an interruption, and the page at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "pipeline=r1",
    "run=r1",
    "rl.num_steps=2",
    "rl.algorithm.num_prompts=4",
    "rl.algorithm.group_size=4",
    "rl.algorithm.num_minibatches=1",
    "rl.evaluation.num_problems=8",
    "rl.evaluation.interim_problems=8",
    "r1_zero.num_steps=40",
    "sft.evaluation.num_problems=8",
    "sft.evaluation.interim_problems=8",
    "traces.num_problems=24",
    "traces.num_samples=8",
    "evaluate.num_problems=16",
    "evaluate.strategy.n=4",
]


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines", *SMALL, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_r1_is_interrupted_goes_on_and_writes_one_page(tmp_path):
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    drills = tmp_path / "outputs" / "drills" / "data.jsonl"
    drills.parent.mkdir(parents=True)
    row = {"prompt": "<think>\n", "completion": " 3 + 4 = 7\n</think>"}
    drills.write_text(20 * (json.dumps(row) + "\n"))
    folder = tmp_path / "outputs" / "r1"

    first = start(tmp_path)
    deadline = time.monotonic() + 300
    while not (folder / "r1_zero" / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 0 and "stopped; the same command resumes the pipeline" in output, output
    assert list((folder / "r1_zero" / "checkpoints").glob("step_*")) and not (folder / "r1_zero/summary.json").exists()

    output, _ = (second := start(tmp_path)).communicate(timeout=1800)
    assert second.returncode == 0 and "[1/13] evaluate_base: finished before" in output, output
    assert "resuming from outputs/r1/r1_zero/checkpoints/" in output.replace("\n", "")
    summary = json.loads((folder / "summary.json").read_text())
    assert all(stage["state"] == "finished" for stage in summary["stages"].values() if stage["kind"] in ("rl", "sft"))
    assert all(summary["stages"][name]["accuracy"]["samples"] == 4 for name in ("base", "cold_start", "all_tasks_rl"))
    assert summary["stages"]["rejection"]["rows"] > 0 and (folder / "report.html").stat().st_size > 50_000

    output, _ = (third := start(tmp_path)).communicate(timeout=120)
    assert third.returncode == 0 and output.count("finished before") == 13
    output, _ = (changed := start(tmp_path, "cold_start.epochs=1")).communicate(timeout=120)
    assert changed.returncode == 2 and "error: stages.cold_start has run with epochs=2, now epochs=1" in output

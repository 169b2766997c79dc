"""Supervised runs from the command line, with Ray, vLLM and the shipped tiny model."""

import json
import re
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM

from envs.countdown.corpus import tiny_countdown, traces
from tests.builders import example
from train_sft import SftTraining
from workers.checkpoint import list_checkpoints, verify_checkpoint
from workers.step_plan import StepPlan

ROOT = Path(__file__).parent.parent
SETTINGS = [
    f"model.path={ROOT / 'envs/countdown/models/tiny'}",
    "env=countdown",
    "data.paths=[rows.jsonl]",
    "batch_tokens=2048",
    "optimizer.lr=1e-3",
    "optimizer.schedule=constant_with_warmup",
    "evaluation.num_problems=16",
    "evaluation.interim_problems=8",
    "evaluation.every=4",
    "checkpoint.every=3",
]


def write_rows(folder: Path, count: int = 600) -> None:
    rows = islice(traces(count, seed=5), count)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(folder: Path, name: str, *overrides: str) -> tuple[int, str]:
    """Run train_sft.py to its end: its exit code and output."""
    command = [sys.executable, str(ROOT / "train_sft.py"), *SETTINGS, f"run={name}", *overrides]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, check=False)
    return done.returncode, done.stdout + done.stderr


def read(folder: Path, name: str) -> tuple[dict, list[dict]]:
    """The summary and the metrics of a run."""
    path = folder / "outputs" / name
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return json.loads((path / "summary.json").read_text()), rows


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of six steps without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    write_rows(folder)
    code, output = run(folder, "straight", "num_steps=6")
    assert code == 0, output
    return folder, output


def test_a_run_writes_the_same_files_as_a_run_of_rl_and_its_losses(straight):
    folder, output = straight
    summary, rows = read(folder, "straight")
    assert [row["step"] for row in rows] == list(range(7))
    assert all(0 < row["data/loss"] < 1 and row["data/tokens"] > 100 for row in rows[:6])
    assert summary["steps"] == 6 and summary["tokens"] == sum(row["data/tokens"] for row in rows[:6])
    assert 0 < summary["loss"]["final"] < 1 and summary["accuracy"]["final"]["n"] == 16
    assert [row["step"] for row in rows if "eval/sampled" in row] == [0, 4, 6]
    assert [row["step"] for row in rows if "eval/loss" in row] == [0, 4, 6]
    training, held_out, left_out = (
        int(re.search(pattern, output)[1])
        for pattern in (r"(\d+) examples with", r"(\d+) held out", r"left out: (\d+) examples of more than 208 tokens")
    )
    assert training + held_out + left_out == 600 and 50 < held_out <= 60 and left_out > 0
    assert re.search(r"rows.jsonl:\d+ \(\d+ tokens\)", output) and "held-out loss" in output
    page = (folder / "outputs" / "straight" / "report.html").read_text()
    assert "data/loss" in page and "held-out loss" in page


def test_checkpoints_are_intact_and_load_in_transformers(straight):
    checkpoints = list_checkpoints(straight[0] / "outputs" / "straight" / "checkpoints")
    assert [path.name for path in checkpoints] == ["step_000003", "step_000006"]
    for path in checkpoints:
        verify_checkpoint(path)
    AutoModelForCausalLM.from_pretrained(checkpoints[-1] / "hf")


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(straight, tmp_path):
    write_rows(tmp_path)
    assert run(tmp_path, "halves", "num_steps=3")[0] == 0
    code, output = run(tmp_path, "halves", "num_steps=6")
    assert code == 0 and "step_000003" in output
    (summary, rows), (expected, expected_rows) = read(tmp_path, "halves"), read(straight[0], "straight")
    assert summary["weights_sha256"] == expected["weights_sha256"]
    assert [row.get("data/loss") for row in rows] == [row.get("data/loss") for row in expected_rows]
    report = tmp_path / "outputs" / "halves" / "report.html"
    report.unlink()
    assert "this run is finished" in run(tmp_path, "halves", "num_steps=6")[1] and report.is_file()
    write_rows(tmp_path, count=700)
    code, output = run(tmp_path, "halves", "num_steps=8")
    assert code == 2 and "halves was started with data.sha256=" in output


@pytest.mark.parametrize("batch_tokens", [22, 11])
def test_the_held_out_loss_depends_neither_on_weights_nor_on_batches(batch_tokens):
    """Two rows of ten tokens with losses of 1 and 3: the mean is 2, whether they share a batch or not."""
    rows = [example([1], [5] * 10, weight=1.0), example([1], [6] * 10, weight=9.0)]
    training = object.__new__(SftTraining)
    training.held_out, training.ranks = StepPlan(rows, batch_tokens, seed=0), 1
    losses = {5: -1.0, 6: -3.0}
    actor = SimpleNamespace(call=lambda name, batch, phase: batch.input_ids[:, 1:].float().apply_(losses.get))
    training.trio = SimpleNamespace(actor=actor)
    assert training.held_out.num_steps(1) == 22 // batch_tokens and training.held_out_loss() == 2.0


def test_bad_data_is_refused_in_one_line_before_anything_starts(tmp_path):
    problem = tiny_countdown().eval_set(16)[3]
    row = {"prompt": problem.prompt, "completion": " 1", "env": "countdown", "key": problem.key}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    code, output = run(tmp_path, "refused")
    assert code == 2 and f"rows.jsonl:1: the problem {problem.key} of countdown is in the evaluation set" in output
    code, output = run(tmp_path, "refused", "data.paths=???")
    assert code == 2 and output.strip() == "error: data.paths has no value; set it with data.paths=VALUE"
    code, output = run(tmp_path, "refused", "data.paths=[missing.jsonl]")
    assert code == 2 and output.strip() == "error: data.paths: there is no file missing.jsonl"
    code, output = run(tmp_path, "refused", "data.max_tokens=2000")
    assert code == 2 and "data.max_tokens=2000 must be at most 512, the context of model.path=" in output
    assert not (tmp_path / "outputs" / "refused").exists()


def test_sigterm_stops_a_run_that_generates_nothing_with_a_checkpoint(tmp_path):
    write_rows(tmp_path)
    command = [sys.executable, str(ROOT / "train_sft.py"), *SETTINGS, "run=stopped", "env=none", "num_steps=100000"]
    command += ["rollout.backend=transformers", "checkpoint.every=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = tmp_path / "outputs" / "stopped" / "metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped; the same command resumes" in output, output
    (checkpoint,) = list_checkpoints(metrics.parent / "checkpoints")
    assert checkpoint.name == f"step_{metrics.read_text().count(chr(10)):06d}"


@pytest.mark.slow
def test_two_ranks_train_as_one(straight, tmp_path):
    write_rows(tmp_path)
    code, output = run(tmp_path, "ranks", "num_steps=6", "topology.actor_ranks=2")
    assert code == 0, output
    (_, rows), (_, expected) = read(tmp_path, "ranks"), read(straight[0], "straight")
    for row, other in zip(rows[:6], expected[:6], strict=True):
        assert row["data/loss"] == pytest.approx(other["data/loss"], abs=1e-4)
        assert row["data/tokens"] == other["data/tokens"]

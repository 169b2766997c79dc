"""A whole trial."""

import json
import subprocess
import time
from contextlib import nullcontext

import pytest
from rich.console import Console

from tools.soak import check, faults
from tools.soak.check import Result, Timing, Undisturbed, run_trial, run_undisturbed
from tools.soak.report import counts_of, line_of, show_table, write_json
from tools.soak.runs import MOMENTS
from tools.soak.trial import Trial

KILLED = Trial(4, faults.killed, "gcs_server", "update", 2, 0.5)
STARTED_TWICE = Trial(5, faults.started_twice, "", "start", 0, 0.5)
RESULTS = [
    Result(KILLED, True, [-9, 0], "", 40.0),
    Result(STARTED_TWICE, True, [0], "", 30.0),
    Result(KILLED, True, [1, 1, 1, 1], "error: no", 99.0, ["not finished after 4 starts: error: no"]),
]


def test_a_result_is_one_line():
    assert line_of(RESULTS[0]) == (
        "  4  gcs server killed  [update, step 2]  by the same command (exit codes -9, 0)  equal  40 s"
    )
    assert line_of(RESULTS[1]) == "  5  started twice  [start]  by itself (exit code 0)  equal  30 s"
    assert "does not end (exit codes 1, 1, 1, 1)  not finished after 4 starts: error: no" in line_of(RESULTS[2])


def test_results_are_counted_and_written(tmp_path):
    assert list(counts_of(RESULTS).values()) == [3, 1, 1, 2, 1]
    undisturbed = Undisturbed(None, Timing(10.0, {"update": 0.2}, 25.0))
    write_json(tmp_path / "soak.json", 7, undisturbed, RESULTS)
    written = json.loads((tmp_path / "soak.json").read_text())
    assert written["seed"] == 7 and written["summary"]["failed"] == 1
    assert written["trials"][0] | {"moment": "update", "codes": [-9, 0]} == written["trials"][0]
    console = Console(record=True, width=120)
    show_table(console, RESULTS)
    assert "trial 4, gcs server killed: not finished" in console.export_text()


def test_a_trial_has_the_limit_of_its_starts(tmp_path, monkeypatch):
    def disturb(run, undisturbed, result):
        assert result.trial.limit_s == undisturbed.limit_s
        raise subprocess.TimeoutExpired("train_grpo.py", undisturbed.limit_s)

    for name, stub in (("start", lambda *_: None), ("disturb", disturb), ("kill_descendants", lambda: None)):
        monkeypatch.setattr(check, name, stub)
    monkeypatch.setattr(check, "own_ray", nullcontext)
    undisturbed = Undisturbed(None, Timing(10.0, {"update": 0.2}, 25.0))
    assert run_trial(STARTED_TWICE, undisturbed, tmp_path / "trial", []).problems == ["start 1 did not end in 200 s"]


@pytest.mark.slow
def test_a_killed_driver_is_recovered_by_the_same_command(tmp_path):
    undisturbed = run_undisturbed(tmp_path / "undisturbed", [])
    assert set(undisturbed.timing.durations) == set(MOMENTS) - {"start"}
    trial = Trial(0, faults.killed, "driver", "generation", 2, 0.5)
    started = time.monotonic()
    result = run_trial(trial, undisturbed, tmp_path / "trial", [])
    assert result.problems == [] and result.hit and result.codes == [-9, 0]
    assert result.outcome == "by the same command" and 0 < result.seconds <= time.monotonic() - started

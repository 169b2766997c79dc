import json
import sys
from pathlib import Path

import pytest

from conf.compose import compose_config
from tools.same_runs import COMMON, RUNS, differences, main


def record(output: Path, sha256: str = "ab", **metrics: float) -> Path:
    folder = output / "outputs" / "countdown"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"weights_sha256": sha256}))
    line = {"step": 0, "policy/loss": 0.5, "time/step": 3.0, "cost/usd": 0.1} | metrics
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return output


def test_recordings_are_equal_if_only_times_and_costs_differ(tmp_path):
    one, other = record(tmp_path / "one"), record(tmp_path / "other", **{"time/step": 9.0, "cost/usd": 2.0})
    assert list(differences(one, other, "countdown")) == []


def test_a_different_weight_or_metric_is_named(tmp_path):
    one = record(tmp_path / "one")
    other = record(tmp_path / "other", "cd", **{"policy/loss": 0.5000001, "policy/kl": 0.0})
    assert list(differences(one, other, "countdown")) == [
        "weights ab instead of cd",
        "step 0: policy/kl None instead of 0.0",
        "step 0: policy/loss 0.5 instead of 0.5000001",
    ]


def test_every_run_composes_and_its_last_start_trains_the_most_steps():
    for name, starts in RUNS.items():
        steps = [compose_config([*COMMON, *overrides]).num_steps for overrides in starts]
        assert steps == sorted(set(steps)) and steps[-1] <= 8, name


def test_a_folder_that_has_a_recording_is_not_recorded_to_again(tmp_path, monkeypatch, capsys):
    output = record(tmp_path / "one")
    monkeypatch.setattr("tools.same_runs.subprocess.run", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["same_runs", "--output", str(output), "countdown"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"--output={output} has a run countdown already; choose another folder" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--compare-only"])
    assert main() == 0

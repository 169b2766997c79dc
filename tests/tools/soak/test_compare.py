"""What a soak finds when a run is not equal to the undisturbed one."""

import json
from pathlib import Path

import pytest

from run.folder import RunFolder
from tools.soak.compare import differences

METRICS = [{"step": step, "policy/loss": 0.5 + step, "time/step": 1.0} for step in range(3)]
SAMPLES = [{"step": 0, "kind": kind, "key": "3,4", "completion": kind} for kind in ("eval", "train", "train")]


def finished(path: Path, metrics=METRICS, samples=SAMPLES, sha256="a" * 64) -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in metrics))
    folder.samples.write_text("".join(json.dumps(row) + "\n" for row in samples))
    folder.summary.write_text(json.dumps({"weights_sha256": sha256}))
    return folder


@pytest.fixture
def expected(tmp_path):
    return finished(tmp_path / "expected")


def test_runs_that_differ_only_in_times_are_equal(tmp_path, expected):
    slower = [row | {"time/step": 9.0, "time/restart": 3.0, "memory/resident_gb": 2.0} for row in METRICS]
    assert list(differences(finished(tmp_path / "found", slower), expected)) == []


def test_different_weights_are_found(tmp_path, expected):
    found = finished(tmp_path / "found", sha256="b" * 64)
    assert list(differences(found, expected)) == ["final weights bbbbbbbbbbbb instead of aaaaaaaaaaaa"]


def test_a_lost_row_is_found(tmp_path, expected):
    found = finished(tmp_path / "found", [METRICS[0], METRICS[2]])
    assert list(differences(found, expected)) == ["metrics: step 000001 lost (0 rows instead of 1)"]


def test_a_doubled_row_is_found(tmp_path, expected):
    found = finished(tmp_path / "found", [*METRICS, METRICS[2]])
    assert list(differences(found, expected)) == ["metrics: step 000002 doubled (2 rows instead of 1)"]


def test_lost_and_doubled_samples_are_found(tmp_path, expected):
    found = finished(tmp_path / "found", samples=[SAMPLES[0], *SAMPLES[:2]])
    assert list(differences(found, expected)) == [
        "samples: step 000000 eval 3,4 doubled (2 rows instead of 1)",
        "samples: step 000000 train 3,4 lost (1 rows instead of 2)",
    ]


def test_the_first_value_that_differs_is_named(tmp_path, expected):
    changed = [METRICS[0], METRICS[1] | {"policy/loss": 1.5000001}, METRICS[2] | {"policy/loss": 9.0}]
    found = finished(tmp_path / "found", changed, [*SAMPLES[:2], SAMPLES[2] | {"completion": "other"}])
    assert list(differences(found, expected)) == [
        "metrics: step 1: policy/loss 1.5000001 instead of 1.5",
        "samples: step 0: completion other instead of train",
    ]


def test_rows_in_another_order_are_found(tmp_path, expected):
    found = finished(tmp_path / "found", [METRICS[1], METRICS[0], METRICS[2]])
    assert list(differences(found, expected)) == ["metrics: step 1: policy/loss 1.5 instead of 0.5"]


def test_a_line_that_was_cut_short_is_an_error(tmp_path, expected):
    found = finished(tmp_path / "found")
    found.metrics.write_text(found.metrics.read_text()[:-5])
    with pytest.raises(ValueError):
        list(differences(found, expected))

"""Each tracker with its real library: log, stop, resume, and read back what was written."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.trackers import TrackerConfig
from run.trackers import make_tracker
from tests.run.tracked import CONFIG, EVENT, SUMMARY, log_step, rows


def run_three_steps(name: str, folder: Path) -> tuple[str, list[str]]:
    """Log two steps, crash, resume at step 1 and finish; returns (message of close, messages passed to `say`)."""
    messages: list[str] = []
    cfg = TrackerConfig(names=[name], mode="offline", group="mine")
    crashed = make_tracker(cfg, folder, CONFIG, messages.append)
    log_step(crashed, 0)
    log_step(crashed, 1)
    crashed.close()
    resumed = make_tracker(cfg, folder, CONFIG | {"seed": 2}, messages.append)
    log_step(resumed, 1)
    log_step(resumed, 2, with_nan=True)
    resumed.log_event(2, EVENT)
    resumed.log_samples(3, "eval", rows(3))
    resumed.log(3, {"eval/sampled": 0.4})
    return resumed.close(SUMMARY), messages


def wandb_records(file: Path) -> list:
    """The protobuf records of an offline run. The file is a LevelDB log: blocks of 32 KB made of chunks with a
    checksum, a length, a type (1 full, 2 first, 3 middle, 4 last) and data."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, offset, record, found = file.read_bytes(), 7, b"", []
    while offset + 7 <= len(content):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        length, kind = int.from_bytes(content[offset + 4 : offset + 6], "little"), content[offset + 6]
        record = (b"" if kind in (1, 2) else record) + content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(record))
    return found


def finished_wandb_records(run: Path) -> list:
    """Wait for the exit record, which the wandb process may write shortly after `finish` has returned."""
    [file] = run.glob("run-*.wandb")
    for _ in range(100):
        records = wandb_records(file)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no exit record")


def history_of(records: list) -> list[dict]:
    items = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in some if i.value_json} for some in items]


def test_wandb_offline_records_every_step_once_under_one_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "job"
    folder.mkdir()
    message, failures = run_three_steps("wandb", folder)
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    ident = (folder / "wandb_id.txt").read_text()
    # The names of two starts within one second differ only in their suffix.
    assert not failures and len(runs) == 2 and all(ident in run.name for run in runs)
    assert message.endswith(f"wandb sync {folder}/wandb/offline-run-*{ident}*")

    records = [record for run in runs for record in finished_wandb_records(run)]
    history = history_of(records)
    assert [row["step"] for row in history if "reward/mean" in row] == [0, 1, 2]
    assert [row["step"] for row in history if "eval/sampled" in row] == [0, 1, 2, 3]
    assert [row["tracker/not_finite"] for row in history if "tracker/not_finite" in row] == [2]

    tables = [row for row in history if "samples/eval/path" in row]
    assert [row["step"] for row in tables] == [0, 1, 2, 3]
    for row in tables:
        [file] = [path for run in runs if (path := run / "files" / row["samples/eval/path"]).is_file()]
        table = json.loads(file.read_text())
        assert {line[table["columns"].index("step")] for line in table["data"]} == {row["step"]}

    [alert] = [record.alert for record in records if record.WhichOneof("record_type") == "alert"]
    assert alert.title == "tries at step 2" and "tries doubled" in alert.text and alert.level == "INFO"
    begun = [record.run for record in records if record.WhichOneof("record_type") == "run"][0]
    assert begun.display_name == "job" and begun.run_group == "mine" and begun.job_type == "train"
    assert "reward:correct+answered" in begun.tags and "model:tiny" in begun.tags
    assert {item.key: item.value_json for item in begun.config.update}["seed"] == "1"
    metrics = {r.metric.glob_name: r.metric for r in records if r.WhichOneof("record_type") == "metric"}
    assert metrics["eval/*"].step_metric == "step" and metrics["eval/*"].summary.max


def test_tensorboard_records_every_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    message, failures = run_three_steps("tensorboard", tmp_path)
    assert not failures and message == f"to view the run: tensorboard --logdir {tmp_path}/tensorboard"
    found = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    assert [event.step for event in found.Scalars("reward/mean")] == [0, 1, 2]
    texts = found.Tensors("samples/eval/text_summary")
    assert [event.step for event in texts] == [0, 1, 2, 3]
    assert b"     1 + 1\n    # no heading" in texts[0].tensor_proto.string_val[0]
    assert (
        "step" not in found.Tags()["scalars"] and found.Tags()["scalars"].count("summary/accuracy.final.sampled") == 1
    )
    assert b"tries doubled" in found.Tensors("events/aha/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_records_every_step_once_in_one_run(tmp_path, monkeypatch):
    for library in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(library)
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    message, failures = run_three_steps("mlflow", folder)
    run, client = (folder / "mlflow_id.txt").read_text(), MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert not failures and run in message and [path.name for path in tmp_path.iterdir()] == ["job"]
    assert [point.step for point in client.get_metric_history(run, "reward/mean")] == [0, 1, 2]
    found = client.get_run(run)
    assert found.info.status == "FINISHED" and found.data.params["model.lora.rank"] == "0"
    assert found.data.params["seed"] == "1" and found.data.tags["changed.seed"] == "2"
    assert found.data.tags["model"] == "tiny" and found.data.tags["group"] == "mine"
    tables = sorted((folder / "mlflow_artifacts").rglob("samples/eval/*.json"))
    assert [path.name for path in tables] == [f"step_{step:06d}.json" for step in range(4)]
    assert len(json.loads(tables[0].read_text())["data"]) == 2
    assert len(list((folder / "mlflow_artifacts").rglob("events/step_000002_aha_tries.txt"))) == 1


def test_trackio_records_every_step_once(tmp_path):
    pytest.importorskip("trackio")
    # Trackio reads its folder from the environment at import, so the test needs a separate process.
    code = (
        "from pathlib import Path; from tests.run.test_tracker_libraries import run_three_steps; import json\n"
        f"message, failures = run_three_steps('trackio', Path({str(tmp_path)!r})); assert not failures, failures\n"
        "from trackio.sqlite_storage import SQLiteStorage as S\n"
        "print(message); print(json.dumps([S.get_runs('ahazero'), S.get_logs('ahazero', 'sweeps/mine/job')]))\n"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    message, content = done.stdout.splitlines()
    runs, logs = json.loads(content)
    assert message == "to view the run: trackio show --project ahazero" and len(runs) == 1
    assert [log["step"] for log in logs if "reward/mean" in log] == [0, 1, 2]
    tables = [log for log in logs if "samples/eval" in log]
    assert [log["step"] for log in tables] == [0, 1, 2, 3]
    assert tables[0]["samples/eval"]["_value"][0]["key"] == "1 1 -> 2"
    assert [log["step"] for log in logs if "summary/steps" in log] == [3]


def test_the_workspace_is_accepted_by_its_library():
    pytest.importorskip("wandb_workspaces")
    from run.trackers.workspace import GROUPS, build

    workspace = build("someone", "ahazero")
    assert [section.name for section in workspace.sections] == ["aha", *GROUPS, "samples"]
    content = workspace._to_model().model_dump(by_alias=True, exclude_none=True)
    sections = content["spec"]["section"]["panelBankConfig"]["sections"]
    assert sections[0]["isOpen"] and sections[0]["panels"][0]["config"]["metrics"] == ["eval/sampled", "eval/greedy"]
    assert all(panel["config"].get("xAxis", "step") == "step" for section in sections for panel in section["panels"])

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.trackers import TRACKERS, TrackerConfig
from run import trackers
from run.folder import git_commit
from run.trackers import Trackers, check_tracker, make_tracker
from run.trackers.base import as_table, finite_numbers, tags_of

CONFIG = {
    "run": "sweeps/mine/job",
    "seed": 1,
    "model": {"name": "tiny", "lora": {"rank": 0}, "path": None},
    "env": {"name": "countdown", "num_numbers": [3]},
    "algorithm": {"name": "grpo"},
    "reward": {"weights": {"correct": 0.9, "answered": 0.1}},
}
SUMMARY = {"accuracy": {"final": {"sampled": 0.5, "n": 8}}, "steps": 3, "weights_sha256": "ab"}
EVENT = {"kind": "aha", "name": "tries", "message": "tries doubled", "before": 1.5, "after": 3.1}


def rows(step: int, kind: str = "eval") -> list[dict]:
    shared = {"step": step, "kind": kind, "prompt": "make 2\n", "components": {"correct": 1.0}, "truncated": False}
    first = {**shared, "key": "1 1 -> 2", "completion": " 1 + 1\n# no heading", "reward": 1.0, "correct": True}
    second = {**shared, "key": "1 2 -> 2", "completion": "", "reward": math.nan, "correct": False, "env": "other"}
    return [first, second]


def log_step(tracker, step: int, with_nan: bool = False) -> None:
    """Log what the Monitor logs for a training step that starts with an evaluation."""
    tracker.log_samples(step, "eval", rows(step))
    metrics = {
        "step": step,
        "reward/mean": 0.1 * step,
        "time/step": 2.0,
        "eval/sampled": 0.5 - 0.1 * step,
        "weights/sha256": "ab",
    }
    tracker.log(step, metrics | ({"policy/kl": math.nan, "policy/loss": math.inf} if with_nan else {}))
    tracker.log_samples(step, "train", rows(step, "train"))


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


class Recorder:
    """A tracker that records its calls and raises after `fails_at` of them."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.calls: list[tuple] = []
        self.fails_at = fails_at

    def _record(self, *call) -> None:
        if self.fails_at is not None and len(self.calls) >= self.fails_at:
            raise OSError("no space left\non the device")
        self.calls.append(call)

    def log(self, step, metrics):
        self._record("log", step)

    def log_samples(self, step, kind, rows):
        self._record(kind, step)

    def log_event(self, step, event):
        self._record(event["name"], step)

    def close(self, summary=None):
        self._record("close", summary)
        return "closed"


def test_a_failing_tracker_is_reported_and_disabled(tmp_path):
    messages: list[str] = []
    good, bad, several = Recorder(), Recorder(fails_at=1), Trackers(tmp_path, messages.append)
    several.add("good", lambda: good)
    several.add("bad", lambda: bad)
    several.add("absent", lambda: 1 // 0)
    log_step(several, 0)
    log_step(several, 1)
    several.log_event(1, EVENT)
    assert [name for name, _ in good.calls] == ["eval", "log", "train"] * 2 + ["tries"]
    assert len(bad.calls) == 1 and list(several.open) == ["good"]
    assert several.failures == {
        "absent": "to start: ZeroDivisionError: integer division or modulo by zero",
        "bad": "at step 0: OSError: no space left",
    }
    disabled = "tracker bad failed at step 0: OSError: no space left; it is disabled, and the run continues"
    assert len(messages) == 2 and messages[1] == disabled
    assert several.close(SUMMARY).splitlines() == [
        "closed",
        f"the record in absent is incomplete: it failed {several.failures['absent']}",
        "the record in bad is incomplete: it failed at step 0: OSError: no space left",
    ]


def test_a_tracker_that_fails_at_the_end_does_not_raise(tmp_path):
    several = Trackers(tmp_path, print)
    several.add("bad", lambda: Recorder(fails_at=0))
    assert "failed at the end" in several.close()


def test_a_keyboard_interrupt_is_not_treated_as_a_tracker_failure(tmp_path):
    several, tracker = Trackers(tmp_path, print), Recorder()
    tracker.log = lambda step, metrics: interrupt()
    several.add("one", lambda: tracker)
    with pytest.raises(KeyboardInterrupt):
        several.log(0, {})
    assert not several.failures


def interrupt():
    raise KeyboardInterrupt


def test_steps_repeated_after_a_crash_are_not_sent_again(tmp_path):
    first = Recorder()
    before = Trackers(tmp_path, print)
    before.add("one", lambda: first)
    for step in (0, 1):
        log_step(before, step)
    again = Recorder()
    after = Trackers(tmp_path, print)
    after.add("one", lambda: again)
    after.log_event(1, EVENT)
    after.log_event(1, EVENT)
    for step in (1, 2):
        log_step(after, step)
    assert again.calls == [("tries", 1), ("tries", 1), ("eval", 2), ("log", 2), ("train", 2)]


def test_an_extended_run_logs_the_training_step_at_its_former_final_evaluation(tmp_path):
    before = Trackers(tmp_path, print)
    before.add("one", Recorder)
    log_step(before, 0)
    before.log(1, {"eval/sampled": 0.5})
    after, tracker = Trackers(tmp_path, print), Recorder()
    after.add("one", lambda: tracker)
    log_step(after, 1)
    assert ("log", 1) in tracker.calls


def test_non_finite_numbers_are_removed_and_counted():
    metrics = {"a": 1, "b": math.nan, "c": -math.inf, "d": "text", "e": 0.5}
    assert finite_numbers(metrics) == {"a": 1, "e": 0.5, "tracker/not_finite": 2}
    assert finite_numbers({"a": 1}) == {"a": 1}


def test_a_table_has_the_columns_of_all_rows():
    columns, cells = as_table([{"a": 1, "b": {"c": 2}}, {"a": math.nan, "d": None}])
    assert columns == ["a", "b", "d"] and cells == [[1, '{"c": 2}', None], ["nan", None, None]]


def test_tags_name_the_components_of_a_run():
    assert tags_of(CONFIG) == {"model": "tiny", "env": "countdown", "algorithm": "grpo", "reward": "correct+answered"}


def test_every_configurable_tracker_is_implemented():
    assert set(TRACKERS) == set(trackers.KINDS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["wandb", "mail"]}, "tracker.names must be one of wandb, tensorboard, mlflow, trackio, got mail"),
        ({"names": ["wandb", "wandb"]}, "tracker.names=wandb,wandb contains a name twice"),
        ({"mode": "never"}, "tracker.mode must be one of auto, online, offline"),
    ],
)
def test_invalid_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        TrackerConfig(**settings)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_an_error_that_names_the_package(name, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda library: None)
    with pytest.raises(ValueError, match=f"tracker.names={name} requires .* install it: pip install {name}"):
        check_tracker(TrackerConfig(names=[name]))


def test_mlflow_with_a_server_does_not_require_the_database_libraries(monkeypatch):
    found = {"mlflow": True}
    monkeypatch.setattr(trackers.importlib.util, "find_spec", found.get)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_tracker(TrackerConfig(names=["mlflow"]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ValueError, match="pip install sqlalchemy alembic"):
        check_tracker(TrackerConfig(names=["mlflow"]))


def test_online_mode_without_an_account_is_an_error(monkeypatch):
    monkeypatch.setattr(trackers, "has_account", lambda: False)
    with pytest.raises(ValueError, match="tracker.mode=online requires a wandb account"):
        check_tracker(TrackerConfig(mode="online"))
    check_tracker(TrackerConfig(mode="auto"))


def test_git_commit_of_a_checkout_and_outside_of_one(tmp_path):
    assert git_commit(tmp_path) is None
    assert git_commit(tmp_path / "absent") is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    clean = git_commit(tmp_path)
    assert clean is not None and len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == {"commit": clean["commit"], "dirty": True}


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
        "from pathlib import Path; from tests.run.test_trackers import run_three_steps; import json\n"
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

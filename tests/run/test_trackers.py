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
from run.trackers import NoTracker, Trackers, check_tracker, git_commit, make_tracker
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


def step_of(tracker, step: int, with_nan: bool = False) -> None:
    """What a monitor tells of a step that begins with an evaluation."""
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
    """Two steps, a crash that goes back to step 1, and the rest; what closing and what `say` said."""
    said: list[str] = []
    cfg = TrackerConfig(names=[name], mode="offline", group="mine")
    crashed = make_tracker(cfg, folder, CONFIG, said.append)
    step_of(crashed, 0)
    step_of(crashed, 1)
    crashed.close()
    resumed = make_tracker(cfg, folder, CONFIG | {"seed": 2}, said.append)
    step_of(resumed, 1)
    step_of(resumed, 2, with_nan=True)
    resumed.log_event(2, EVENT)
    resumed.log_samples(3, "eval", rows(3))
    resumed.log(3, {"eval/sampled": 0.4})
    return resumed.close(SUMMARY), said


class Recorder:
    """Keeps what it is told; fails from its `fails_at`th call on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.told: list[tuple] = []
        self.fails_at = fails_at

    def _tell(self, *what) -> None:
        if self.fails_at is not None and len(self.told) >= self.fails_at:
            raise OSError("no space left\non the device")
        self.told.append(what)

    def log(self, step, metrics):
        self._tell("log", step)

    def log_samples(self, step, kind, rows):
        self._tell(kind, step)

    def log_event(self, step, event):
        self._tell(event["name"], step)

    def close(self, summary=None):
        self._tell("close", summary)
        return "closed"


def test_a_failing_tracker_is_said_once_counted_and_left_out(tmp_path):
    said: list[str] = []
    good, bad, several = Recorder(), Recorder(fails_at=1), Trackers(tmp_path, said.append)
    several.add("good", lambda: good)
    several.add("bad", lambda: bad)
    several.add("absent", lambda: 1 // 0)
    step_of(several, 0)
    step_of(several, 1)
    several.log_event(1, EVENT)
    assert [what for what, _ in good.told] == ["eval", "log", "train"] * 2 + ["tries"]
    assert len(bad.told) == 1 and list(several.open) == ["good"]
    assert several.left_out == {
        "absent": "to start: ZeroDivisionError: integer division or modulo by zero",
        "bad": "at step 0: OSError: no space left",
    }
    assert len(said) == 2 and said[1].startswith("tracker bad failed at step 0: OSError: no space left; it is left out")
    assert several.close(SUMMARY).splitlines() == [
        "closed",
        f"absent does not have all of this run, it failed {several.left_out['absent']}",
        "bad does not have all of this run, it failed at step 0: OSError: no space left",
    ]


def test_a_tracker_that_fails_at_the_end_does_not_raise(tmp_path):
    several = Trackers(tmp_path, print)
    several.add("bad", lambda: Recorder(fails_at=0))
    assert "failed at the end" in several.close()


def test_an_interrupt_is_no_failure_of_a_tracker(tmp_path):
    several, tracker = Trackers(tmp_path, print), Recorder()
    tracker.log = lambda step, metrics: interrupt()
    several.add("one", lambda: tracker)
    with pytest.raises(KeyboardInterrupt):
        several.log(0, {})
    assert not several.left_out


def interrupt():
    raise KeyboardInterrupt


def test_steps_done_again_after_a_crash_are_not_sent_again(tmp_path):
    first = Recorder()
    before = Trackers(tmp_path, print)
    before.add("one", lambda: first)
    for step in (0, 1):
        step_of(before, step)
    again = Recorder()
    after = Trackers(tmp_path, print)
    after.add("one", lambda: again)
    after.log_event(1, EVENT)
    after.log_event(1, EVENT)
    for step in (1, 2):
        step_of(after, step)
    assert again.told == [("tries", 1), ("tries", 1), ("eval", 2), ("log", 2), ("train", 2)]


def test_a_finished_run_that_is_made_longer_goes_on_with_the_step_of_its_last_evaluation(tmp_path):
    before = Trackers(tmp_path, print)
    before.add("one", Recorder)
    step_of(before, 0)
    before.log(1, {"eval/sampled": 0.5})
    after, tracker = Trackers(tmp_path, print), Recorder()
    after.add("one", lambda: tracker)
    step_of(after, 1)
    assert ("log", 1) in tracker.told


def test_numbers_that_are_not_finite_are_counted_and_left_out():
    metrics = {"a": 1, "b": math.nan, "c": -math.inf, "d": "text", "e": 0.5}
    assert finite_numbers(metrics) == {"a": 1, "e": 0.5, "tracker/not_finite": 2}
    assert finite_numbers({"a": 1}) == {"a": 1}


def test_a_table_has_the_columns_of_all_rows():
    columns, cells = as_table([{"a": 1, "b": {"c": 2}}, {"a": math.nan, "d": None}])
    assert columns == ["a", "b", "d"] and cells == [[1, '{"c": 2}', None], ["nan", None, None]]


def test_tags_name_what_a_run_is_made_of():
    assert tags_of(CONFIG) == {"model": "tiny", "env": "countdown", "algorithm": "grpo", "reward": "correct+answered"}


def test_the_settings_know_the_same_trackers():
    assert set(TRACKERS) == set(trackers.KINDS)
    assert isinstance(make_tracker(TrackerConfig(names=[]), Path(), CONFIG), NoTracker)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ["wandb", "mail"]}, "tracker.names must be one of wandb, tensorboard, mlflow, trackio, got mail"),
        ({"names": ["wandb", "wandb"]}, "tracker.names=wandb,wandb holds a name twice"),
        ({"mode": "never"}, "tracker.mode must be one of auto, online, offline"),
    ],
)
def test_wrong_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        TrackerConfig(**settings)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_refused_with_what_to_install(name, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda library: None)
    with pytest.raises(ValueError, match=f"tracker.names={name} needs .* install it: pip install {name}"):
        check_tracker(TrackerConfig(names=[name]))


def test_mlflow_s_database_is_not_asked_for_where_there_is_a_server(monkeypatch):
    found = {"mlflow": True}
    monkeypatch.setattr(trackers.importlib.util, "find_spec", found.get)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_tracker(TrackerConfig(names=["mlflow"]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ValueError, match="pip install sqlalchemy alembic"):
        check_tracker(TrackerConfig(names=["mlflow"]))


def test_online_without_an_account_is_refused(monkeypatch):
    monkeypatch.setattr(trackers, "has_account", lambda: False)
    with pytest.raises(ValueError, match="tracker.mode=online needs an account"):
        check_tracker(TrackerConfig(mode="online"))
    check_tracker(TrackerConfig(mode="auto"))


def test_the_commit_of_a_checkout_and_none_outside(tmp_path):
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
    """The protobuf records of an offline run: a LevelDB log, which is blocks of 32 KB with chunks of a
    checksum, a length, a type (1 whole, 2 first, 3 middle, 4 last) and data."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record = (b"" if kind in (1, 2) else record) + content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            found.append(Record.FromString(record))
    return found


def finished_wandb_records(run: Path) -> list:
    """wandb's process writes the end of a file a moment after `finish` has returned."""
    [file] = run.glob("run-*.wandb")
    for _ in range(100):
        records = wandb_records(file)
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end")


def history_of(records: list) -> list[dict]:
    items = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in some if i.value_json} for some in items]


def test_wandb_offline_holds_every_step_once_under_one_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "job"
    folder.mkdir()
    message, said = run_three_steps("wandb", folder)
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    ident = (folder / "wandb_id.txt").read_text()
    # Two starts within a second have names that differ at the end alone.
    assert not said and len(runs) == 2 and all(ident in run.name for run in runs)
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


def test_tensorboard_holds_every_step_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    message, said = run_three_steps("tensorboard", tmp_path)
    assert not said and message == f"to look at it: tensorboard --logdir {tmp_path}/tensorboard"
    found = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    assert [event.step for event in found.Scalars("reward/mean")] == [0, 1, 2]
    texts = found.Tensors("samples/eval/text_summary")
    assert [event.step for event in texts] == [0, 1, 2, 3]
    assert b"     1 + 1\n    # no heading" in texts[0].tensor_proto.string_val[0]
    assert (
        "step" not in found.Tags()["scalars"] and found.Tags()["scalars"].count("summary/accuracy.final.sampled") == 1
    )
    assert b"tries doubled" in found.Tensors("events/aha/text_summary")[0].tensor_proto.string_val[0]


def test_mlflow_holds_every_step_once_in_one_run(tmp_path, monkeypatch):
    for library in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(library)
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    message, said = run_three_steps("mlflow", folder)
    run, client = (folder / "mlflow_id.txt").read_text(), MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert not said and run in message and [path.name for path in tmp_path.iterdir()] == ["job"]
    assert [point.step for point in client.get_metric_history(run, "reward/mean")] == [0, 1, 2]
    found = client.get_run(run)
    assert found.info.status == "FINISHED" and found.data.params["model.lora.rank"] == "0"
    assert found.data.params["seed"] == "1" and found.data.tags["changed.seed"] == "2"
    assert found.data.tags["model"] == "tiny" and found.data.tags["group"] == "mine"
    tables = sorted((folder / "mlflow_artifacts").rglob("samples/eval/*.json"))
    assert [path.name for path in tables] == [f"step_{step:06d}.json" for step in range(4)]
    assert len(json.loads(tables[0].read_text())["data"]) == 2
    assert len(list((folder / "mlflow_artifacts").rglob("events/step_000002_aha_tries.txt"))) == 1


def test_trackio_holds_every_step_once(tmp_path):
    pytest.importorskip("trackio")
    # Trackio reads its folder from the environment when it is imported: a process of its own.
    code = (
        "from pathlib import Path; from tests.run.test_trackers import run_three_steps; import json\n"
        f"message, said = run_three_steps('trackio', Path({str(tmp_path)!r})); assert not said, said\n"
        "from trackio.sqlite_storage import SQLiteStorage as S\n"
        "print(message); print(json.dumps([S.get_runs('ahazero'), S.get_logs('ahazero', 'sweeps/mine/job')]))\n"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    message, content = done.stdout.splitlines()
    runs, logs = json.loads(content)
    assert message == "to look at it: trackio show --project ahazero" and len(runs) == 1
    assert [log["step"] for log in logs if "reward/mean" in log] == [0, 1, 2]
    tables = [log for log in logs if "samples/eval" in log]
    assert [log["step"] for log in tables] == [0, 1, 2, 3]
    assert tables[0]["samples/eval"]["_value"][0]["key"] == "1 1 -> 2"
    assert [log["step"] for log in logs if "summary/steps" in log] == [3]


def test_the_workspace_is_what_the_library_takes():
    pytest.importorskip("wandb_workspaces")
    from run.trackers.workspace import GROUPS, build

    workspace = build("someone", "ahazero")
    assert [section.name for section in workspace.sections] == ["aha", *GROUPS, "samples"]
    content = workspace._to_model().model_dump(by_alias=True, exclude_none=True)
    sections = content["spec"]["section"]["panelBankConfig"]["sections"]
    assert sections[0]["isOpen"] and sections[0]["panels"][0]["config"]["metrics"] == ["eval/sampled", "eval/greedy"]
    assert all(panel["config"].get("xAxis", "step") == "step" for section in sections for panel in section["panels"])

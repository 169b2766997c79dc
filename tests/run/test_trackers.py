"""The trackers as a group: failures, resumed runs, configuration errors."""

import math
import subprocess

import pytest

from conf.trackers import TRACKERS, TrackerConfig
from run import trackers
from run.folder import git_commit
from run.trackers import Trackers, check_tracker
from run.trackers.base import as_table, event_text, finite_numbers, tags_of
from run.trackers.tensorboard_run import as_code
from tests.run.tracked import CONFIG, EVENT, SUMMARY, log_step


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


def test_text_of_a_model_is_plain_text_to_a_tracker():
    """Tables have cells of text, not of HTML or Markdown, and an event is shown by some trackers as Markdown."""
    hostile = "```\n<script>alert(1)</script>\n# title \x1b[2J"
    _, cells = as_table([{"completion": hostile, "fields": {"question": hostile}}])
    assert [type(cell) for cell in cells[0]] == [str, str] and cells[0][0] == hostile
    message, blank, details = event_text({"kind": "aha", "message": "rose", "sample": hostile}).split("\n")
    assert (message, blank) == ("rose", "") and details.startswith('    {"sample": "') and "\x1b" not in details


def test_every_line_of_a_sample_is_code_to_the_markdown_of_tensorboard():
    reason = "the program raised ValueError:\n# [a](http://b)"
    row = {"key": "1 1 -> 2", "reward": 0.0, "reason": reason, "prompt": "2?\n", "completion": "**1**\r<b>\u2028# x"}
    head = "    1 1 -> 2, reward 0.0, the program raised ValueError:\n    # [a](http://b)\n    \n"
    assert as_code(row) == f"{head}    2?\n    **1**\n    <b>\n    # x"


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

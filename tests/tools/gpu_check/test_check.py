import argparse
import json
import sys
from pathlib import Path

import psutil
import pytest

from tools.gpu_check import __main__ as check
from tools.gpu_check.report import Report, StageResult, cells, page
from tools.gpu_check.stage import Measurement, read_measurements, write_measurements
from tools.planner.efficiencies import Efficiencies
from workers import shared_memory


def arguments(folder, minutes=1.0):
    return argparse.Namespace(
        model="tiny", minutes=minutes, stages="device", device="cpu", output=folder, run_stage=False
    )


def test_the_error_is_relative_to_the_plan():
    assert Measurement("update", 3.0, "s", planned=2.0).error == 0.5
    assert Measurement("update", 3.0, "s").error is None
    assert Measurement("left", 1.0, "GiB", planned=0.0).error is None


def test_measurements_are_on_disk_before_a_stage_breaks(tmp_path):
    def stage():
        yield Measurement("first", 1.0)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_measurements(tmp_path / "stage.jsonl", stage())
    assert read_measurements(tmp_path / "stage.jsonl") == [Measurement("first", 1.0)]


def test_a_line_that_was_cut_off_is_ignored(tmp_path):
    assert write_measurements(tmp_path / "stage.jsonl", iter([Measurement("first", 1.0, passed=True)]))
    with (tmp_path / "stage.jsonl").open("a") as file:
        file.write('{"name": "sec')
    assert [each.name for each in read_measurements(tmp_path / "stage.jsonl")] == ["first"]


def test_one_failed_measurement_fails_the_stage(tmp_path):
    measurements = [Measurement("a", 1.0, passed=False), Measurement("b", 1.0, passed=True)]
    assert not write_measurements(tmp_path / "stage.jsonl", iter(measurements))


@pytest.fixture
def stage_process(monkeypatch):
    """Runs this code in place of a stage's process."""

    def install(code):
        popen = check.subprocess.Popen
        monkeypatch.setattr(
            check.subprocess, "Popen", lambda _, **kwargs: popen([sys.executable, "-c", code], **kwargs)
        )

    return install


def test_a_stage_that_hangs_is_ended_with_its_children(tmp_path, stage_process):
    stage_process("import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)")
    result = check.run_in_process("device", arguments(tmp_path), 3.0)
    assert result.status == "failed" and result.problem == "did not finish within 3 s"
    assert not psutil.pid_exists(int((tmp_path / "device.log").read_text()))


HOLD = """
import sys, time
from pathlib import Path
from run.lock import lock
held = lock(Path({folder!r}), "")
print("locked", flush=True)
time.sleep(600)
"""


def test_the_shared_memory_of_a_stage_that_hangs_is_freed(tmp_path, monkeypatch, stage_process):
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(check, "ROLLOUT_RUN", "rollout")
    run = tmp_path / "device" / "outputs" / "tiny"
    for output in (run, Path("outputs", "rollout"), Path("outputs", "another-run")):
        shared_memory.shared_folder(output).mkdir()
    run.mkdir(parents=True)
    stage_process(HOLD.format(folder=str(shared_memory.shared_folder(run))))
    assert check.run_in_process("device", arguments(tmp_path), 3.0).status == "failed"
    assert (tmp_path / "device.log").read_text() == "locked\n"
    another = shared_memory.shared_folder(Path("outputs", "another-run"))
    assert list((tmp_path / "shm").iterdir()) == [another]


def test_a_stage_that_breaks_reports_its_last_lines(tmp_path, stage_process):
    stage_process("print('one'); raise ValueError('the cause')")
    result = check.run_in_process("device", arguments(tmp_path), 60.0)
    assert result.status == "failed" and result.problem.endswith("ValueError: the cause")


def test_the_check_goes_on_after_a_failed_stage_and_exits_with_1(tmp_path, monkeypatch):
    results = iter([StageResult("device", "failed", 1.0, [], "broken"), StageResult("actor", "passed", 2.0, [])])
    monkeypatch.setattr(check, "run_in_process", lambda *_: next(results))
    args = arguments(tmp_path / "out")
    args.stages = "device,actor"
    with pytest.raises(SystemExit) as exit_:
        check.run_check(args)
    assert exit_.value.code == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [stage["status"] for stage in report["stages"]] == ["failed", "passed"]
    assert "broken" in (tmp_path / "out" / "report.html").read_text()


def test_stages_share_the_time_and_inherit_what_is_left(tmp_path, monkeypatch):
    seconds = []

    def run(name, args, limit):
        seconds.append(limit)
        return StageResult(name, "passed", 0.0, [])

    monkeypatch.setattr(check, "run_in_process", run)
    args = arguments(tmp_path / "out")
    args.stages = "device,actor"
    check.run_check(args)
    share = check.SHARES["device"] / (check.SHARES["device"] + check.SHARES["actor"])
    assert seconds == pytest.approx([60 * share, 60], abs=1)


def test_an_unknown_stage_is_named(tmp_path):
    args = arguments(tmp_path / "out")
    args.stages = "device,actr"
    with pytest.raises(SystemExit, match="actr unknown; allowed are device, actor"):
        check.run_check(args)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "qwen-9b"}, "error: model=qwen-9b: unknown; allowed are qwen-0.5b, "),
        ({"minutes": 0.0}, "error: --minutes must be > 0, got 0.0"),
        ({"minutes": -1.0}, "error: --minutes must be > 0, got -1.0"),
    ],
)
def test_invalid_arguments_are_refused_before_a_stage_starts(tmp_path, capsys, settings, message):
    args = argparse.Namespace(**(vars(arguments(tmp_path / "out")) | settings))
    with pytest.raises(SystemExit) as exit_:
        check.run_check(args)
    assert exit_.value.code == 2 and capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "out").exists()


def test_cells_show_three_digits_and_the_verdict():
    assert cells(Measurement("peak", 21.84, "GiB", 20.0, True)) == ("peak", "21.8 GiB ✓", "20", "+9%")
    assert cells(Measurement("speed", 12345.6, "tokens/s")) == ("speed", "12,346 tokens/s", "", "")


def test_the_page_escapes_what_stages_say():
    report = Report("now", [], {}, "tiny", "cpu", 1.0, [StageResult("device", "failed", 1.0, [], "<script>")])
    assert "<script>" not in page(report) and "&lt;script&gt;" in page(report)


def write(path, gpus, *measurements):
    stages = [{"measurements": [{"name": name, "value": value} for name, value in measurements]}]
    path.write_text(json.dumps({"gpus": gpus, "stages": stages}))
    return path


def test_the_planner_takes_the_efficiencies_of_a_report(tmp_path):
    report = write(tmp_path / "report.json", ["H"], ("train_flops", 0.5), ("something else", 3.0))
    assert Efficiencies.measured(report, "H") == Efficiencies(train_flops=0.5)


def test_a_report_of_another_gpu_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is a report of A; run make gpu-check on a H"):
        Efficiencies.measured(write(tmp_path / "report.json", ["A"]), "H")


@pytest.mark.parametrize(
    "content", ["[]", '{"gpus": ["H"], "stages": [{"measurements": [{"name": "train_flops", "value": "x"}]}]}']
)
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match="is not a report.json of make gpu-check"):
        Efficiencies.measured(tmp_path / "report.json", "H")

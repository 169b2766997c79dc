"""Files of a run that are damaged or cannot be written: one line, and what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conf.launch import disk_error
from run.files import (
    DamagedFile,
    append_rows,
    empty_folder,
    read_json,
    read_rows,
    read_yaml,
    replace_json,
    replace_text,
)
from run.folder import RunFolder

ROOT = Path(__file__).parent.parent.parent
MODEL = f"model.path={ROOT / 'envs/countdown/models/tiny'}"
TRAIN = [str(ROOT / "train_grpo.py"), MODEL, "tracker=none", "run=one"]
EVALUATE = str(ROOT / "evaluate.py")


def refused(folder: Path, command: list[str]) -> tuple[int, str]:
    """The exit code and the only line of a command that writes an error."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("content", ["", "run: [", "just text"])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match="config.yaml is empty or damaged; remove it to resume"):
        RunFolder(tmp_path).claim({"run": "one"})


@pytest.mark.parametrize("content", ["", '{"steps": 1', "{}"])
def test_a_damaged_summary_is_named(tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match="summary.json .* and run the same command again to write it"):
        RunFolder(tmp_path).is_finished(36, 0)


def test_damaged_files_are_refused_in_one_line_with_what_to_do(tmp_path):
    (tmp_path / "outputs" / "one").mkdir(parents=True)
    (tmp_path / "outputs" / "one" / "config.yaml").write_text("run: [")
    code, line = refused(tmp_path, TRAIN)
    assert code == 2 and "outputs/one/config.yaml is empty or damaged; remove it to resume" in line
    code, line = refused(tmp_path, [EVALUATE, "run=one"])
    assert code == 2 and "outputs/one/config.yaml is empty or damaged; run the training command again" in line
    (tmp_path / "outputs" / "one" / "config.yaml").unlink()
    (tmp_path / "outputs" / "one" / "summary.json").write_text("{}")
    code, line = refused(tmp_path, TRAIN)
    assert code == 2 and "outputs/one/summary.json" in line and "run the same command again to write it" in line


def test_a_damaged_line_is_named_and_a_last_line_cut_short_is_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"st')
    assert list(read_rows(path, ["step"])) == [{"step": 0}]
    for line, fault in (("5", "is empty or damaged"), ("", "is empty or damaged"), ('{"a": 1}', "has no step")):
        path.write_text(f'{{"step": 0}}\n{line}\n')
        with pytest.raises(DamagedFile, match=f"metrics.jsonl:2 {fault}; remove this line, and run the command again"):
            list(read_rows(path, ["step"]))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DamagedFile, match="config.yaml is missing; write it"):
        read_yaml(tmp_path / "config.yaml", "write it")


def test_an_outputs_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "outputs").write_text("")
    for command in (TRAIN, [EVALUATE, MODEL, "name=x"]):
        code, line = refused(tmp_path, command)
        assert code in (1, 2) and "outputs" in line and "move it away" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_read_only_outputs_is_named(tmp_path):
    (tmp_path / "outputs").mkdir(mode=0o555)
    code, line = refused(tmp_path, TRAIN)
    assert code == 2 and "outputs/one: Permission denied; make it writable" in line


def test_a_full_disk_is_named_with_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        append_rows(tmp_path / "metrics.jsonl", [{"step": 0}])
    message = disk_error(error.value)
    assert message is not None and message.startswith(f"{tmp_path}/metrics.jsonl: No space left on device; free disk")


def test_a_name_that_is_too_long_is_named(tmp_path):
    code, line = refused(tmp_path, [*TRAIN[:-1], f"run={300 * 'x'}"])
    assert code == 2 and "xxx: File name too long; choose shorter names" in line


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_is_named(number):
    message = disk_error(OSError(number, os.strerror(number), "outputs/one"))
    assert message is not None and message.startswith(f"outputs/one: {os.strerror(number)}; check the disk or the")


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path):
    path = tmp_path / "summary.json"
    replace_json(path, {"steps": 3})

    def pieces():
        yield '{"steps": '
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        replace_text(path, pieces())
    assert read_json(path, "") == {"steps": 3} and os.listdir(tmp_path) == ["summary.json"]


def test_a_line_cut_short_by_a_full_disk_is_dropped_when_the_run_resumes(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 0}\n{"step": 1}\n{"st')
    folder.rewind(2)
    folder.add_metrics({"step": 2})
    assert [row["step"] for row in folder.metric_rows()] == [0, 1, 2]


def test_errors_of_workers_are_recognized_and_others_are_not():
    assert "free disk space" in str(disk_error(RuntimeError("I/O error: No space left on device (os error 28)")))
    assert "free disk space" in str(disk_error(RuntimeError("I/O error: File too large (os error 27)")))
    assert disk_error(FileNotFoundError(2, "No such file or directory", "x")) is None
    assert disk_error(PermissionError(13, "Permission denied")) is None


def test_a_folder_is_emptied_only_if_an_earlier_command_wrote_it(tmp_path):
    folder = tmp_path / "soak"
    empty_folder(folder, "soak.json")
    (folder / "mine.txt").touch()
    with pytest.raises(ValueError, match="soak holds other files, which would be removed; choose another folder"):
        empty_folder(folder, "soak.json")
    (folder / "soak.json").touch()
    empty_folder(folder, "soak.json", "undisturbed")
    assert list(folder.iterdir()) == []

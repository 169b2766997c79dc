import json
import subprocess
import sys

import pytest

from envs.countdown.corpus import drills
from tools.countdown_rows import english_rows, write_rows


def test_english_rows_are_problems_of_the_chosen_settings(tmp_path):
    overrides = ["model=smollm2-135m", "env.num_numbers=[2]", "env.max_number=9"]
    path = write_rows(tmp_path / "new" / "folder", english_rows(5, 0, 4, overrides))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert path.name == "data.jsonl" and len(rows) == 5
    for row in rows:
        numbers = [int(number) for number in row["key"].partition(" -> ")[0].split()]
        assert len(numbers) == 2 and max(numbers) <= 9


def test_english_rows_of_another_task_are_refused():
    with pytest.raises(ValueError, match="env=multiplication must be countdown"):
        english_rows(5, 0, 4, ["env=multiplication"])


def test_the_command_writes_drills_and_refuses_unknown_settings(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "tools.countdown_rows", *arguments, "--output", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("drills", "--rows", "3").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == list(drills(3, seed=0))
    refused = run("english", "env.max_nomber=9")
    assert refused.returncode == 2 and refused.stderr.startswith("error:") and "max_nomber" in refused.stderr


def test_rows_that_were_interrupted_leave_no_file_that_make_would_take_for_complete(tmp_path):
    def interrupted():
        yield {"prompt": "1", "completion": "2"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path, interrupted())
    assert not list(tmp_path.iterdir())

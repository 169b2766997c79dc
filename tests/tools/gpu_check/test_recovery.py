"""A run whose workers are killed."""

import pytest

from tools.gpu_check.recovery import measure
from tools.gpu_check.stage import Setup


@pytest.mark.slow
def test_a_run_on_a_cpu_survives_the_death_of_its_workers(tmp_path):
    folder = tmp_path / "recovery"
    folder.mkdir()
    found = {each.name: each for each in measure(Setup("cpu", "qwen-0.5b", None, folder, 600.0))}
    assert [name for name, each in found.items() if each.passed is False] == []
    assert found["actor killed: resumed from a checkpoint"].value == "yes"
    assert found["SIGTERM: step of the checkpoint"].value >= 9

"""Whole runs: what counts as learning, and what the planner expects of each phase."""

from collections.abc import Iterator

import pytest

from conf.compose import compose_config
from tools.gpu_check.runs import RunEnded
from tools.gpu_check.stage import Measurement, Setup
from tools.gpu_check.training import accuracies, mean_seconds, measure, planned_seconds, unless_it_ends
from tools.planner.hardware import gpu_named


def passed(accuracy: list[float], steps: int) -> bool | None:
    rows = [{"step": 10 * n, "eval/sampled": value} for n, value in enumerate(accuracy)]
    *_, last = accuracies([*rows, {"step": 99}], steps)
    return last.passed


def test_the_accuracy_must_rise_from_the_first_evaluation_to_the_last():
    assert passed([0.2, 0.1, 0.3], 40) is True
    assert passed([0.2, 0.3, 0.2], 40) is False


def test_a_run_that_was_too_short_is_not_judged():
    assert passed([0.2, 0.1], 19) is None
    assert list(accuracies([], 0)) == []


def test_the_first_step_does_not_count_in_the_seconds_of_a_phase():
    rows = [{"time/update": 9.0}, {"time/update": 1.0}, {"time/update": 3.0, "time/restart": 2.0}]
    assert mean_seconds(rows) == {"time/update": 2.0, "time/restart": 1.0}
    assert mean_seconds(rows[:1]) == {"time/update": 9.0}


def test_planned_seconds_of_the_passes_follow_the_measured_lengths():
    cfg = compose_config(["model=qwen-1.5b", "experiment=tinyzero_countdown_1.5b", "env.data=null", "tracker=none"])
    short, long = (planned_seconds(cfg, gpu_named("h100"), tokens) for tokens in (256, 1024))
    assert 3.5 < long["time/logprobs"] / short["time/logprobs"] < 5
    assert long["time/update"] > 2 * short["time/update"]
    assert long["time/generate"] > 2 * short["time/generate"]
    assert long["time/step"] > sum(seconds for name, seconds in long.items() if name != "time/step")


def test_a_run_that_ends_by_itself_fails_and_keeps_what_was_measured():
    def ending() -> Iterator[Measurement]:
        yield Measurement("tiny: steps", 3)
        raise RunEnded("train_grpo.py ended with code 1")

    found = list(unless_it_ends("tiny", ending()))
    assert [each.passed for each in found] == [None, False]
    assert found[1].value == "train_grpo.py ended with code 1"


@pytest.mark.slow
def test_a_short_run_on_a_cpu(tmp_path):
    folder = tmp_path / "training"
    folder.mkdir()
    found = {each.name: each for each in measure(Setup("cpu", "qwen-0.5b", None, folder, 400.0))}
    assert found["tiny: steps"].value == 3
    assert found["tiny: time/step"].value > 0
    assert 0 <= found["tiny: held-out accuracy at step 3"].value <= 1
    assert all(each.passed is not False for each in found.values())

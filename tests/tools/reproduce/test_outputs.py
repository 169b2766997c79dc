import json

import pytest

from tests.made_pipeline import COMPLETION, HELD_OUT
from tests.tools.reproduce.made_claims import experiment
from tools.reproduce.measures import greedy


@pytest.fixture
def run(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")
    return experiment(seeds=1, until="evaluate_zero").runs[0]


def write(run, name, rows):
    path = run.ledger.pipeline.folder / "zero" / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_completions_of_an_evaluation(run):
    first, *rest = run.solved("evaluate_zero")
    assert first.problem == HELD_OUT[0] and first.correct and first.tokens == 80 and len(rest) == 3
    sample = first.samples[0]
    assert (sample.text, sample.answer, sample.tokens, sample.truncated) == (COMPLETION, "13 + 5 + 2", 20, False)
    assert sample.certainty == -0.1  # a log-probability of -2 for 20 tokens


def line(step, kind, problem, correct):
    return {
        "step": step, "kind": kind, "key": problem.key, "completion": COMPLETION, "correct": correct, "tokens": 20,
        "truncated": False,
    }  # fmt: skip


def test_the_completions_of_a_run_are_those_of_its_last_evaluation(run):
    last = [line(2, "eval", problem, index < 3) for index, problem in enumerate(HELD_OUT)]
    others = [line(0, "eval", HELD_OUT[0], False), line(2, "eval_greedy", HELD_OUT[0], False)]
    write(run, "samples.jsonl", [*others, *last])
    assert [each.correct for each in run.solved("zero")] == [True, True, True, False]
    assert all(len(each.samples) == 1 for each in run.solved("zero"))


def test_greedy_decoding_is_measured_before_and_after_training(run):
    greedy_rows = [
        line(step, "eval_greedy", problem, index < step) for step in (0, 2) for index, problem in enumerate(HELD_OUT)
    ]
    write(run, "samples.jsonl", [*greedy_rows, line(4, "eval", HELD_OUT[0], True)])
    keys = [problem.key for problem in HELD_OUT]
    assert greedy(run, "zero") == dict(zip(keys, [1.0, 1.0, 0.0, 0.0]))
    assert greedy(run, "zero", at="start") == dict.fromkeys(keys, 0.0)


def test_accuracy_over_hours_is_that_of_the_evaluations(run):
    rows = [
        {"step": 0, "cost/seconds": 48.0, "time/step": 12.0, "eval/sampled": 0.2},
        {"step": 1, "cost/seconds": 72.0},
    ]
    write(run, "metrics.jsonl", [*rows, {"step": 2, "cost/seconds": 108.0, "eval/sampled": 0.7}])
    assert run.hours("zero") == 0.5  # 1,800 s, of which the run's own clock has seen 108
    start = (1800 - 108) / 3600
    assert run.accuracy_by_hours("zero") == [(pytest.approx(start + 0.01), 0.2), (pytest.approx(start + 0.03), 0.7)]


def test_a_stage_is_there_if_it_and_what_it_needs_have_finished(run):
    assert run.has(["evaluate_zero"]) and run.has(["zero", "evaluate_base"]) and not run.has(["tuned"])

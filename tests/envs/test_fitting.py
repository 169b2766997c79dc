"""Problems whose prompts are too long for the model, and splits without problems."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from envs.countdown.task import Countdown
from envs.fitting import FittingProblems
from envs.mixed import Mixed
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions

ROOT = Path(__file__).parent.parent.parent


def words(prompt) -> int:
    return len(str(prompt).split())


def task(folder: Path, lengths: list[int], eval_fraction: float = 0.2) -> Questions:
    """Questions of the given lengths in words, all of which the tiny model knows."""
    path = folder / f"questions{sum(lengths)}.jsonl"  # the file is read once per path
    rows = [{"question": " ".join([str(i)] * n), "answer": str(i)} for i, n in enumerate(lengths)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Questions(path=str(path), prompt_style="tiny", eval_fraction=eval_fraction)


def test_a_training_problem_that_is_too_long_is_replaced_by_the_same_other_one_each_time(tmp_path):
    env = task(tmp_path, [3, 3, 3, 30] * 20, eval_fraction=0)
    problems = FittingProblems(env, 10, words)
    drawn = [problems.training(0, index) for index in range(80)]
    assert all(words(problem.prompt) <= 10 for problem in drawn)
    kept = [index for index in range(80) if words(env.problem(0, "train", index).prompt) <= 10]
    assert len(kept) == 60 and all(drawn[index] == env.problem(0, "train", index) for index in kept)
    assert len(problems.too_long) == 20 and problems.read_replaced() >= 20 and problems.read_replaced() == 0
    again = FittingProblems(env, 10, words)
    assert [again.training(0, index) for index in (79, 3, 40)] == [drawn[79], drawn[3], drawn[40]]  # stateless


def test_problems_drawn_on_the_fly_are_replaced_too():
    problems = FittingProblems(Countdown(num_numbers=[2, 4], prompt_style="tiny"), 7, words)
    drawn = [problems.training(0, index) for index in range(200)]
    assert {len(problem.fields["numbers"]) for problem in drawn} == {2} and problems.read_replaced() > 40


def test_a_curriculum_whose_later_problems_are_too_long_goes_on_with_earlier_ones():
    env = Multiplication(digits=["1x1", "3x3"], curriculum=10_000, prompt_style="tiny")
    problems = FittingProblems(env, 12, lambda prompt: len(str(prompt).partition("\n")[0]) + 4)
    assert all(len(problems.training(0, index).answer) <= 4 for index in range(9_990, 10_000))


def test_the_check_before_a_run_notes_or_refuses(tmp_path):
    fine = FittingProblems(task(tmp_path, [3] * 20), 10, words)
    assert fine.check(0, 1000) == ""
    some = FittingProblems(task(tmp_path, [3, 3, 3, 30] * 20), 10, words).check(0, 1000)
    assert "training problems drawn have prompts of more than model.max_prompt_tokens=10 tokens" in some
    with pytest.raises(
        ValueError, match="max_prompt_tokens=10 tokens, such as '[0-9a-f]{16}' with 31; raise model.max"
    ):
        FittingProblems(task(tmp_path, [3, 30, 30, 30] * 20), 10, words).check(0, 1000)


def test_held_out_problems_are_refused_rather_than_left_out(tmp_path):
    env = task(tmp_path, [3, 3, 3, 30] * 20, eval_fraction=1)
    assert len(FittingProblems(env, 31, words).held_out(80)) == 80
    with pytest.raises(ValueError, match="20 of 80 held-out problems have prompts .* set model.max_prompt_tokens=31"):
        FittingProblems(env, 10, words).held_out(80)


@pytest.mark.parametrize("mixed", [False, True])
def test_an_empty_training_split_is_named(tmp_path, mixed):
    env = task(tmp_path, [3] * 20, eval_fraction=1)
    whole = Mixed({"a": Countdown(), "b": env}, {"a": 1000.0, "b": 0.001}) if mixed else env
    with pytest.raises(ValueError, match="env questions has no problems in its split train; choose other data"):
        FittingProblems(whole, 1000, words).check(0, 100)
    FittingProblems(Mixed({"a": Countdown(), "b": env}, {"a": 1.0, "b": 0.0}), 1000, words).check(0, 100)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["train_grpo.py", "env.eval_fraction=1"], "env jsonl has no problems in its split train"),
        (["train_grpo.py", "env.eval_fraction=0"], "has only 0 held-out problems"),
        (["train_grpo.py", "model.max_prompt_tokens=8"], "prompts of more than model.max_prompt_tokens=8 tokens"),
        (["evaluate.py", "env.eval_fraction=0"], "has only 0 held-out problems"),
        (["evaluate.py", "model.max_prompt_tokens=8"], "held-out problems have prompts of more than model.max"),
        (["sample_traces.py", "env.eval_fraction=1"], "env jsonl has no problems in its split train"),
        (["sample_traces.py", "model.max_prompt_tokens=8"], "whose prompts fit"),
        (["train_sft.py", "model.max_prompt_tokens=8"], "held-out problems have prompts of more than model.max"),
        (["train_grpo.py", "model.max_prompt_tokens=449"], "must be at most"),
    ],
)
def test_every_entry_point_refuses_in_one_line_before_it_starts(tmp_path, command, expected):
    task(tmp_path, [20] * 100)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "make 3 from 1 2", "completion": " 1 + 2"}\n' * 20)
    script, *overrides = command
    sizes = ["num_problems=2"] if script in ("evaluate.py", "sample_traces.py") else []
    data = ["data.paths=[rows.jsonl]"] if script == "train_sft.py" else []
    arguments = [
        *[sys.executable, str(ROOT / script), f"model.path={ROOT / 'envs/countdown/models/tiny'}", "env=jsonl"],
        *[
            "env.path=questions2000.jsonl",
            "env.question_field=question",
            "model.max_prompt_tokens=200",
            "evaluation.num_problems=2",
            "tracker=none",
        ],
        *["model.max_completion_tokens=64", *sizes, *data, *overrides],
    ]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert expected in done.stderr

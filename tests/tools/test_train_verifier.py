"""tools/train_verifier.py run as a command, and evaluate.py with the resulting verifier."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate
from conf.compose import compose_evaluation, compose_verifier
from envs.countdown.task import sorted_text
from envs.splits import split_of
from tools.train_verifier import draw_problems

ROOT = Path(__file__).parents[2]


def test_problems_are_distinct_and_from_the_training_split():
    cfg = compose_verifier(["verifier.num_problems=300"], {})
    problems = draw_problems(cfg)
    assert 200 < len({problem.key for problem in problems}) == len(problems) <= 300
    assert not {problem.key for problem in problems} & {problem.key for problem in cfg.env.eval_set(512)}
    training = {cfg.env.problem(cfg.seed, "train", index).key for index in range(300)}
    assert [problem.key for problem in problems] != list(training)


def test_one_training_problem_is_refused(tmp_path):
    numbers = [[1, 2, number] for number in range(3, 99)]
    training = next(each for each in numbers if split_of(sorted_text(each)) == "train")
    held_out = next(each for each in numbers if split_of(sorted_text(each)) == "test")
    rows = [json.dumps({"nums": each, "target": sum(each)}) for each in (training, held_out)]
    (tmp_path / "one.jsonl").write_text("\n".join(rows))
    with pytest.raises(ValueError, match="a verifier needs two different training problems, .* countdown has 1"):
        draw_problems(compose_verifier([f"env.data={tmp_path / 'one.jsonl'}"], {}))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("verifier.held_back=1", "verifier.held_back must be between 0 and 1, got 1.0"),
        ("verifier.num_problems=1", "verifier.num_problems must be >= 2, got 1"),
        ("verifier.head_lr=0", "verifier.head_lr must be > 0, got 0.0"),
        ("verifier.sampels=2", "verifier.sampels: unknown key (did you mean samples?)"),
        ("model=gpt", "model=gpt: unknown; allowed are qwen-0.5b"),
    ],
)
def test_invalid_settings_are_named(override, message):
    with pytest.raises(ValueError) as error:
        compose_verifier([override], {})
    assert message in str(error.value)


def test_the_tiny_model_has_its_own_learning_rate():
    assert compose_verifier([], {}).verifier.lr == 3e-4
    assert compose_verifier(["model=qwen-0.5b"], {}).verifier.lr == 1e-5
    assert compose_verifier(["verifier.lr=1e-4"], {}).verifier.lr == 1e-4


def test_the_default_verifier_is_in_the_folder_of_the_run():
    learned = ["strategy=beam", "strategy.verifier=learned", "run=my-run"]
    assert compose_evaluation(learned, {}).learned_verifier == Path("outputs/my-run/verifier")
    assert compose_evaluation([*learned, "output=mine"], {}).learned_verifier == Path("outputs/my-run/verifier")
    assert compose_evaluation([*learned, "verifier_path=here"], {}).learned_verifier == Path("here")
    assert compose_evaluation(["strategy=majority", "strategy.verifier=learned"], {}).learned_verifier is None


def command(folder, module, *overrides):
    settings = [f"model.path={ROOT / 'envs/countdown/models/tiny'}", *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", module, *settings]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_missing_verifier_is_refused_before_any_process_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chosen = ["strategy=best_of_n", "strategy.verifier=learned", f"model.path={ROOT / 'envs/countdown/models/tiny'}"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *chosen])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    message = capsys.readouterr().err
    assert end.value.code == 2 and message.count("\n") == 1
    assert "eval-tiny-countdown/verifier; train one with `make verifier MODEL=tiny ENV=countdown`" in message
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_trained_verifier_is_used_by_every_strategy_with_a_verifier(tmp_path):
    done = command(tmp_path, "tools.train_verifier", "verifier.num_problems=60", "verifier.samples=4")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "outputs/eval-tiny-countdown/verifier/verifier.json").read_text())
    found = about["validation"]
    assert found["problems"] + about["training_problems"] <= 60 and found["completions"] == 4 * found["problems"]
    for name, choice in (
        ("best_of_n-4-learned", ["strategy=best_of_n", "strategy.n=4"]),
        ("best_of_n-4-learned-weighted", ["strategy=best_of_n", "strategy.n=4", "strategy.weighted=true"]),
        ("beam-4x2-learned", ["strategy=beam"]),
    ):
        done = command(tmp_path, "evaluate", *choice, "strategy.verifier=learned", "num_problems=8")
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / f"outputs/eval-tiny-countdown/eval/{name}-seed0.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "key" in row]
        scores = [score for row in rows for score in row["details"]["scores"]]
        assert len(rows) == 8 and all(0 <= score <= 1 for score in scores) and len(set(scores)) > 8

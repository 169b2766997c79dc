"""evaluate.py: its settings and checks, and with Ray, vLLM and the shipped tiny model as a command."""

import dataclasses
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from conf.compose import chosen_groups, compose_config, compose_evaluation, compose_verifier
from conf.strategies import STRATEGIES
from evaluate import main, result_settings
from grpo.types import Problem, sha256_of_problems

ROOT = Path(__file__).parent.parent
CHOICES = sorted(path.stem for path in (ROOT / "conf" / "strategy").glob("*.yaml"))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_strategy_composes(choice):
    cfg = compose_evaluation([f"strategy={choice}"], {})
    assert cfg.strategy.name in STRATEGIES and cfg.model.name == "tiny" and cfg.env.num_numbers == [3]


def test_strategy_labels_are_distinct():
    labels = {compose_evaluation([f"strategy={choice}"], {}).strategy.label for choice in CHOICES}
    assert len(labels) == len(CHOICES) - 1  # cot is another name of greedy, next to its control direct


def test_the_model_and_env_of_a_run_are_defaults_that_can_be_overridden():
    saved = {
        "model": {"name": "tiny", "max_completion_tokens": 50},
        "env": {"name": "countdown", "num_numbers": [4], "max_number": 30},
    }
    cfg = compose_evaluation(["strategy=greedy", "env.max_number=25"], saved)
    assert (cfg.model.max_completion_tokens, cfg.env.num_numbers, cfg.env.max_number) == (50, [4], 25)
    assert compose_evaluation(["env.operations=*"], saved).env.operations == "*"  # an alias, for a reader of YAML
    other = compose_evaluation(["env=multiplication"], saved)
    assert other.env.name == "multiplication" and other.model.max_completion_tokens == 50


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategy=beam", "strategy.verifier=judge"], "strategy.verifier=judge needs judge.model"),
        (["strategy.name=luck"], "strategy.name must be one of greedy, sample"),
        (
            ["strategy=cot", "strategy.temperature=0.7"],
            "strategy.temperature must be 0 with greedy decoding, got 0.7",
        ),
        (["strategy=luck"], "strategy=luck: unknown; allowed are beam, best_of_n"),
        (["strategy.n=0"], "strategy.n must be >= 1, got 0"),
        (["strategy.temperature=-1"], "strategy.temperature must be >= 0, got -1"),
        (["max_requests=0"], "max_requests must be >= 1, got 0"),
    ],
)
def test_invalid_settings_are_named(overrides, message):
    with pytest.raises(ValueError) as error:
        compose_evaluation(overrides, {})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategy=budget"], "strategy.wait must be a text that the model's vocabulary can spell, got 'Wait'"),
        (["strategy=budget", "strategy.waits=0", "strategy.cap=190"], "strategy.cap must be <= "),
        (["strategy=direct", "model.max_completion_tokens=2"], "model.max_completion_tokens must be more than the "),
        (["env=none"], "env=none has no problems to evaluate on; choose a task"),
    ],
)
def test_what_the_model_cannot_do_is_refused_before_anything_starts_and_leaves_no_file(
    overrides, message, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "model=tiny", "num_problems=4", *overrides])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.glob("outputs/*/eval/*.jsonl"))


def test_results_belong_to_the_weights_and_not_to_their_folder_alone(tmp_path):
    shutil.copytree("envs/countdown/models/tiny", tmp_path / "model")
    cfg = compose_evaluation([f"model.path={tmp_path}/model"], {})
    before = result_settings(cfg)
    shutil.copy("envs/countdown/models/tiny-bilingual/model.safetensors", tmp_path / "model")
    changed = {key for key, value in result_settings(cfg).items() if value != before[key]}
    assert changed == {"weights_sha256"}


def test_results_belong_to_a_judge_and_to_the_answers_of_the_problems():
    judged = ["strategy=best_of_n", "strategy.verifier=judge"]
    one, other = (compose_evaluation([*judged, f"judge.model={name}"], {}) for name in ("a", "b"))
    assert result_settings(one) != result_settings(other)
    problem = Problem("jsonl", "key", "prompt", "1", {"tests": [1]})
    assert sha256_of_problems([problem]) == sha256_of_problems([replace(problem)])
    for changed in (
        replace(problem, answer="2"),
        replace(problem, prompt="other"),
        replace(problem, fields={"tests": []}),
    ):
        assert sha256_of_problems([problem]) != sha256_of_problems([changed])


def test_revisions_belong_to_the_longest_prompt_and_other_strategies_do_not():
    def settings(strategy, longest):
        return result_settings(compose_evaluation([f"strategy={strategy}", f"model.max_prompt_tokens={longest}"], {}))

    assert settings("revise", 60) != settings("revise", 64) and settings("sample", 60) == settings("sample", 64)


def evaluate(folder: Path, *overrides: str) -> str:
    settings = [f"model.path={ROOT / 'envs/countdown/models/tiny'}", "num_problems=12", *overrides]
    command = [sys.executable, str(ROOT / "evaluate.py"), *settings]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(folder: Path, name: str) -> tuple[dict, list[dict]]:
    path = folder / "outputs" / "eval-tiny-countdown" / "eval" / name
    rows = [row for row in map(json.loads, path.with_suffix(".jsonl").read_text().splitlines()) if "key" in row]
    return json.loads(path.with_suffix(".json").read_text()), rows


@pytest.mark.slow
def test_strategies_on_the_shipped_model(tmp_path):
    """Best-of-n with the oracle equals pass@n, one beam equals greedy decoding, and finished rows are kept."""
    evaluate(tmp_path, "strategy=best_of_n", "strategy.n=4", "strategy.verifier=oracle")
    summary, rows = result(tmp_path, "best_of_n-4-oracle-seed0.json")
    assert summary["accuracy"]["mean"] == pytest.approx(summary["pass_at"]["4"]["mean"])
    for row in rows:
        assert row["correct"] == any(one["correct"] for one in row["candidates"])
        assert row["tokens"] == sum(one["tokens"] for one in row["candidates"])
    evaluate(tmp_path, "strategy=greedy")
    single = ["strategy.beams=1", "strategy.expand=1", "strategy.temperature=0"]
    evaluate(tmp_path, "strategy=beam", *single)
    texts = [
        {row["key"]: row["candidates"][0]["text"] for row in result(tmp_path, name)[1]}
        for name in ("greedy-seed0.json", "beam-1x1-logprob-seed0.json")
    ]
    assert texts[0] == texts[1]
    lines = (tmp_path / "outputs/eval-tiny-countdown/eval/greedy-seed0.jsonl").read_text()
    (tmp_path / "outputs/eval-tiny-countdown/eval/greedy-seed0.jsonl").write_text(
        "".join(line + "\n" for line in lines.splitlines()[:6])
    )
    assert "12 held-out problems" in evaluate(tmp_path, "strategy=greedy")
    assert {row["key"]: row["candidates"][0]["text"] for row in result(tmp_path, "greedy-seed0.json")[1]} == texts[0]


def test_a_run_on_a_mix_with_more_parts_than_the_file_can_be_evaluated():
    added = ["+env@env.parts.gsm8k=gsm8k", "+env.weights.gsm8k=2", "env.parts.countdown.max_number=30"]
    cfg = compose_config(["env=mixed", *added])
    saved = {"env": dataclasses.asdict(cfg.env), "model": dataclasses.asdict(cfg.model)}
    assert compose_evaluation([], saved).env == cfg.env
    assert compose_evaluation(["env.weights.gsm8k=0.5"], saved).env.weights["gsm8k"] == 0.5


@pytest.mark.parametrize(
    "overrides",
    [
        ["env=jsonl", "env.path=problems.jsonl", "env.name=physics", "model=qwen-0.5b"],
        ["env=mixed", "+env@env.parts.a=jsonl", "env.parts.a={name: physics, path: a.jsonl}", "+env.weights.a=2"],
        ["env=countdown_kinds", "+env@env.parts.m=multiplication", "+env.weights.m=1"],
        ["model=qwen-0.5b", "model.name=mine"],
    ],
)
def test_a_run_whose_names_are_not_those_of_the_files_can_be_evaluated(overrides, monkeypatch):
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        composed = compose("config", overrides, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig, "get", lambda: composed.hydra)
    cfg = compose_config(overrides)
    saved = {"env": dataclasses.asdict(cfg.env), "model": dataclasses.asdict(cfg.model), "groups": chosen_groups()}
    found = compose_evaluation([], saved)
    assert found.env == cfg.env and found.model == cfg.model
    of_file = compose_verifier([f"model={saved['groups']['model']}"], {})
    assert compose_verifier([], saved).verifier == of_file.verifier
    assert compose_evaluation(["env=multiplication"], saved).env.name == "multiplication"

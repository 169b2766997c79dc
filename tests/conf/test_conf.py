import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf import schema
from conf.launch import one_line
from conf.schema import Config
from envs.countdown import Countdown
from grpo import advantages, losses

ROOT = Path(__file__).parent.parent.parent


def composed(*overrides: str) -> Config:
    with initialize(version_base=None, config_path="../../conf"):
        cfg = OmegaConf.to_object(compose("config", overrides=list(overrides)))
    assert isinstance(cfg, Config)
    return cfg


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize("group", ["model", "env", "reward", "algorithm", "topology", "tracker"])
def test_every_choice_of_every_group_composes(group):
    assert options(group)
    for option in options(group):
        needed = {"math": ["env.path=problems.jsonl"], "code": ["model=qwen-3b"]}.get(option, [])
        assert isinstance(composed(f"{group}={option}", *needed), Config)


def test_the_schema_allows_what_the_mathematics_knows():
    assert schema.BASELINES == advantages.BASELINES and schema.SCALES == advantages.SCALES
    assert schema.AGGREGATIONS == losses.AGGREGATIONS


def test_dr_grpo_divides_by_no_length_and_by_no_spread():
    algorithm = composed("algorithm=dr_grpo").algorithm
    assert (algorithm.baseline, algorithm.scale, algorithm.aggregation) == ("group_mean", "none", "constant")
    assert not algorithm.uses_reference


def test_the_default_is_the_tiny_model_on_countdown():
    cfg = composed()
    assert (cfg.model.name, cfg.env.name, cfg.algorithm.name, cfg.rollout.backend) == (
        "tiny",
        "countdown",
        "grpo",
        "vllm",
    )
    assert isinstance(cfg.env, Countdown) and cfg.env.prompt_style == "tiny" and cfg.env.num_numbers == [3]
    assert cfg.evaluation.num_problems >= 512


@pytest.mark.parametrize("model", ["qwen-0.5b", "qwen-1.5b", "qwen-3b"])
def test_qwen_runs_with_the_published_settings(model):
    cfg = composed(f"model={model}")
    assert cfg.model.path == f"Qwen/Qwen2.5-{model.removeprefix('qwen-').upper()}"
    assert cfg.env.prompt_style == "base" and cfg.env.num_numbers == [3, 4] and cfg.env.operations == "+-*/"
    assert cfg.algorithm.kl_coef == 0.001 and cfg.algorithm.optimizer.lr == 1e-6
    assert cfg.model.max_completion_tokens == 1024 and cfg.algorithm.temperature == 1.0


def test_a_local_folder_is_used_where_it_exists(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert composed("model=qwen-3b", f"model.local_path={tmp_path}").model.source == str(tmp_path)
    assert composed("model=qwen-3b", "model.local_path=/nowhere").model.source == "Qwen/Qwen2.5-3B"


def test_without_kl_no_reference_is_used():
    assert composed().algorithm.uses_reference
    assert not composed("algorithm.kl_coef=0").algorithm.uses_reference


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.group_size=1", "algorithm.group_size must be >= 2, got 1"),
        ("algorithm.num_updates=3", "algorithm.num_updates=3 must divide num_prompts * group_size = 32 * 8 = 256"),
        ("algorithm.temperature=0", "algorithm.temperature must be > 0, got 0.0"),
        ("rollout.backend=llama", "rollout.backend must be one of vllm, transformers, got llama"),
        (
            "+reward.weights.corect=1",
            "format, language, length, repetition, format_judge, got corect",
        ),
        ("model.path=./nowhere", "model.path=./nowhere: no such model folder; give a folder with a config.json"),
        ("env.max_number=0", "env.min_number must be 1..max_number, got 1"),
    ],
)
def test_a_wrong_value_is_refused_by_name(override, message):
    with pytest.raises(ValueError) as error:
        composed(override)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "algorithm.grop_size=4",
            "algorithm.grop_size: unknown key (did you mean group_size?); allowed here are name, ",
        ),
        ("foo=3", "foo: unknown key; allowed here are run, seed, "),
        ("model=gpt", "model=gpt: unknown; allowed are qwen-0.5b, qwen-1.5b, qwen-3b, smollm2-135m, tiny"),
        ("algorithm.group_size=many", "algorithm.group_size=many: Value 'many' of type 'str' could not be converted"),
    ],
)
def test_settings_that_do_not_compose_are_explained_in_one_line(override, said):
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        composed(override)
    message = one_line(error.value, Config)
    assert message.startswith(said) and "\n" not in message


@pytest.mark.parametrize("override", ["algorithm.grop_size=4", "algorithm.group_size=1"])
def test_a_config_error_is_one_line_and_nothing_starts(override):
    command = [sys.executable, ROOT / "train_grpo.py", override, "run=refused"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: algorithm.gro") and done.stderr.count("\n") == 1
    assert not (ROOT / "outputs" / "refused").exists()


def test_a_run_folder_with_another_config_is_refused(tmp_path):
    from monitor.run_folder import RunFolder

    folder = RunFolder(tmp_path / "run")
    folder.claim({"run": "run", "seed": 0, "num_steps": 5})
    folder.claim({"run": "run", "seed": 0, "num_steps": 10})
    with pytest.raises(ValueError, match="run=run holds a run with seed=0, now it is 1; choose another run=NAME"):
        folder.claim({"run": "run", "seed": 1, "num_steps": 10})
    assert yaml.safe_load(folder.config.read_text())["num_steps"] == 10

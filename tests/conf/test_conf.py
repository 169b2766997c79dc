"""The settings of conf/: what composes, the defaults, and the one-line messages for invalid settings."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.compose import compose_config, compose_training
from conf.launch import launch, one_line
from conf.schema import Config
from conf.sft import SftConfig
from envs.countdown.task import Countdown
from run.folder import RunFolder

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
        path = ["env.path=problems.jsonl"]
        required = {"math": path, "jsonl": path, "code": ["model=qwen-3b"]}.get(option, [])
        assert isinstance(composed(f"{group}={option}", *required), Config)


# The settings of each paper: loss, clip_low, clip_high, baseline, scale, aggregation, where the KL is applied.
RECIPES = {
    "grpo": ("ppo", 0.2, 0.2, "group_mean", "group_std", "token", "loss"),
    "dr_grpo": ("ppo", 0.2, 0.2, "group_mean", "none", "constant", None),
    "dapo": ("ppo", 0.2, 0.28, "group_mean", "group_std", "token", None),
    "rloo": ("reinforce", 0.2, 0.2, "leave_one_out", "none", "constant", "reward"),
    "reinforce_pp": ("ppo", 0.2, 0.2, "batch_mean", "batch_std", "token", "reward_to_go"),
    "gspo": ("gspo", 3e-4, 4e-4, "group_mean", "group_std", "sequence", None),
    "cispo": ("cispo", 1.0, 4.0, "group_mean", "group_std", "token", None),
    "sapo": ("sapo", 0.2, 0.2, "group_mean", "group_std", "sequence", None),
    "gmpo": ("gmpo", 0.4, 0.4, "group_mean", "group_std", "sequence", None),
}


@pytest.mark.parametrize("name", options("algorithm"))
def test_each_algorithm_has_the_settings_of_its_paper(name):
    algorithm = composed(f"algorithm={name}").algorithm
    loss, advantage, kl = algorithm.loss, algorithm.advantage, algorithm.kl
    clip = (loss.clip_low, loss.clip_high)
    apply_to = kl.apply_to if algorithm.uses_reference else None
    found = (loss.name, *clip, advantage.baseline, advantage.scale, loss.aggregation, apply_to)
    assert algorithm.name == name and found == RECIPES[name]
    assert (algorithm.sampling.max_resample_rounds > 1) == loss.mask_truncated == (name == "dapo")


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
def test_qwen_models_use_the_published_settings(model):
    cfg = composed(f"model={model}")
    assert cfg.model.path == f"Qwen/Qwen2.5-{model.removeprefix('qwen-').upper()}"
    assert cfg.env.prompt_style == "base" and cfg.env.num_numbers == [3, 4] and cfg.env.operations == "+-*/"
    assert cfg.algorithm.kl.coef == 0.001 and cfg.algorithm.optimizer.lr == 1e-6
    assert cfg.model.max_completion_tokens == 1024 and cfg.algorithm.sampling.temperature == 1.0


def test_a_local_folder_is_used_if_it_exists(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert composed("model=qwen-3b", f"model.local_path={tmp_path}").model.source == str(tmp_path)
    assert composed("model=qwen-3b", "model.local_path=/nowhere").model.source == "Qwen/Qwen2.5-3B"


def test_no_reference_is_used_if_the_kl_coefficient_is_zero():
    assert composed().algorithm.uses_reference
    assert not composed("algorithm.kl.coef=0").algorithm.uses_reference


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.group_size=1", "algorithm.group_size must be >= 2, got 1"),
        (
            "algorithm.num_minibatches=3",
            "algorithm.num_minibatches=3 must divide num_prompts * group_size = 32 * 8 = 256; choose a divisor",
        ),
        ("algorithm.sampling.temperature=0", "algorithm.sampling.temperature must be > 0, got 0.0"),
        ("algorithm.advantage.epsilon=0", "algorithm.advantage.epsilon must be > 0, got 0.0"),
        ("algorithm.loss.name=ppo2", "algorithm.loss.name must be one of ppo, reinforce, gspo, cispo, sapo, gmpo"),
        ("algorithm.kl.estimator=k1", "algorithm.kl.estimator=k1 with algorithm.kl.apply_to=loss has an expected"),
        ("algorithm.correction.high=0.4", "algorithm.correction.high must be > 0.5, got 0.4"),
        ("algorithm.optimizer.lr=inf", "algorithm.optimizer.lr must be > 0 and finite, got inf"),
        ("algorithm.kl.coef=inf", "algorithm.kl.coef must be >= 0 and finite, got inf"),
        ("algorithm.optimizer.lr=nan", "algorithm.optimizer.lr must be > 0, got nan"),
        ("algorithm.sampling.top_p=1.5", "algorithm.sampling.top_p must be <= 1, got 1.5"),
        ("algorithm.optimizer.beta1=-0.1", "algorithm.optimizer.beta1 must be >= 0, got -0.1"),
        ("algorithm.optimizer.beta2=1.5", "algorithm.optimizer.beta2 must be < 1, got 1.5"),
        ("algorithm.optimizer.weight_decay=-1", "algorithm.optimizer.weight_decay must be >= 0, got -1"),
        ("algorithm.optimizer.warmup_steps=-3", "algorithm.optimizer.warmup_steps must be >= 0, got -3"),
        ("algorithm.optimizer.name=sgd", "algorithm.optimizer.name must be one of adamw, adamw_8bit, got sgd"),
        ("rollout.kv_cache_gb=0", "rollout.kv_cache_gb must be > 0, got 0.0"),
        ("rollout.kv_cache_gb=nan", "rollout.kv_cache_gb must be > 0, got nan"),
        ("rollout.gpu_memory_utilization=45", "rollout.gpu_memory_utilization must be <= 1, got 45.0"),
        ("rollout.gpu_memory_utilization=-1", "rollout.gpu_memory_utilization must be > 0, got -1.0"),
        ("topology.rollout_gpu_share=-1", "topology.rollout_gpu_share must be > 0, got -1.0"),
        (  # 0.5 + 0.15 + 0.45
            "topology.actor_gpu_share=0.5",
            "_gpu_share + topology.reference_gpu_share + topology.rollout_gpu_share must be <= 1, got 1.1",
        ),
        ("rollout.backend=llama", "rollout.backend must be one of vllm, transformers, got llama"),
        (
            "+reward.weights.corect=1",
            "format, language, length, repetition, format_judge, got corect",
        ),
        (
            "model.path=./nowhere",
            "model.path=./nowhere is not a folder with a config.json; give such a folder",
        ),
        ("env.max_number=0", "env.min_number must be 1..max_number, got 1"),
    ],
)
def test_an_invalid_value_is_rejected_with_its_key_and_what_is_allowed(override, message):
    with pytest.raises(ValueError) as error:
        composed(override)
    assert message in str(error.value)


def test_the_rollout_does_not_share_a_gpu_with_the_actor_in_a_split_topology():
    assert composed("topology=split", "topology.actor_gpu_share=0.85").topology.rollout_gpu_share == 0.45
    with pytest.raises(ValueError, match=r"actor_gpu_share \+ topology.reference_gpu_share must be <= 1, got 1.05"):
        composed("topology=split", "topology.actor_gpu_share=0.9")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.name=gspo", "loss.dual_clip=3"], "loss.dual_clip=3.0 requires algorithm.loss.name=ppo, got gspo"),
        (["correction.level=token", "sampling.top_p=0.9"], "algorithm.sampling.top_p=0.9 cannot be combined with"),
        (["correction.level=sequence", "sampling.top_k=20"], "algorithm.sampling.top_k=20 cannot be combined with"),
        # Tokens with the loss 2 and the weights 0.5 and 1.5 would add up to 4, as without a correction.
        (["correction.level=token", "loss.name=gspo"], "level=token cannot be combined with algorithm.loss.name=gspo"),
        (["correction.level=token", "loss.name=gmpo"], "level=token cannot be combined with algorithm.loss.name=gmpo"),
        (["advantage.of=pass_at_k", "advantage.k=9"], "algorithm.advantage.k=9 must be at most algorithm.group_size=8"),
        (["kl.apply_to=reward", "kl.unbiased=true"], "algorithm.kl.unbiased=true requires algorithm.kl.apply_to=loss"),
        (["kl.apply_to=reward", "advantage.of=components"], "requires algorithm.advantage.of=rewards, got components"),
        (
            ["kl.apply_to=reward_to_go"],
            "requires algorithm.advantage.baseline=batch_mean and algorithm.adv",
        ),
        (  # a group that fails entirely in a batch of mean 0.5 would have advantages of -0.5 / (0 + 1e-4) = -5,000
            ["advantage.baseline=batch_mean"],
            "algorithm.advantage.baseline=batch_mean cannot be combined with algorithm.advantage.scale=group_std",
        ),
    ],
)
def test_contradictory_settings_of_an_algorithm_are_rejected_with_their_keys(overrides, message):
    with pytest.raises(ValueError) as error:
        composed(*[f"algorithm.{override}" for override in overrides])
    assert message in str(error.value)


@pytest.mark.parametrize("override", ["algorithm.advantage.of=pass_at_k", "algorithm.sampling.candidates=2"])
def test_shuffled_rewards_cannot_be_combined_with_what_reads_the_correctness_itself(override):
    assert composed("reward=shuffled", "algorithm.advantage.of=components").reward.shuffled
    with pytest.raises(ValueError, match="reward.shuffled=true cannot be combined with algorithm.advantage.of=pass_at"):
        composed("reward=shuffled", override)


def test_an_adapter_cannot_be_combined_with_frozen_parameters():
    with pytest.raises(ValueError, match=r"model.frozen=\[layers.0,embed\] cannot be combined with model.lora.rank=8"):
        composed("model.lora.rank=8", "model.frozen=[layers.0,embed]")


def test_an_adapter_cannot_be_combined_with_reference_updates():
    with pytest.raises(ValueError, match="algorithm.kl.ref_sync_steps=4 cannot be combined with model.lora.rank=8"):
        composed("model.lora.rank=8", "algorithm.kl.ref_sync_steps=4")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "algorithm.grop_size=4",
            "algorithm.grop_size: unknown key (did you mean group_size?); allowed keys are name, ",
        ),
        ("foo=3", "foo: unknown key; allowed keys are run, seed, "),
        (
            "model=gpt",
            "model=gpt: unknown; allowed are qwen-0.5b, qwen-1.5b, qwen-3b, r1-distill-qwen-7b, smollm2-135m, tiny",
        ),
        ("algorithm.group_size=many", "algorithm.group_size=many: Value 'many' of type 'str' could not be converted"),
    ],
)
def test_settings_that_do_not_compose_are_explained_in_one_line(override, expected):
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        composed(override)
    message = one_line(error.value, Config)
    assert message.startswith(expected) and "\n" not in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+seeds=1", "seeds: unknown key (did you mean seed?); allowed keys are run, seed, "),
        ("++algorithm.grop_size=4", "algorithm.grop_size: unknown key (did you mean group_size?); allowed keys are "),
        ("+env.max_nmber=3", "env.max_nmber: unknown key (did you mean max_number?); allowed keys are "),
        ("+env.parts.countdown.max_nmber=3", "env.parts.countdown.max_nmber: unknown key (did you mean max_number?)"),
    ],
)
def test_a_key_that_is_added_but_read_by_nothing_is_refused(override, expected):
    env = ["env=mixed"] if "parts" in override else []
    with pytest.raises(ValueError) as error:
        compose_config([*env, override])
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.judge.base_url=http://a/v1", "evaluation.judge.base_url=http://a/v1 needs evaluation.judge.model"),
        ("reward.judge.base_url=http://a/v1", "reward.judge.base_url=http://a/v1 needs reward.judge.model"),
        ("reward.judge.model=x", "reward.judge.model=x is used by no component; give reward.weights.format_judge a"),
    ],
)
def test_a_judge_that_would_not_be_asked_is_refused(override, message):
    with pytest.raises(ValueError) as error:
        compose_config([override])
    assert str(error.value).startswith(message)


def test_the_limits_of_a_program_fit_into_that_of_its_grader():
    compose_config(["env=code", "model=qwen-0.5b", "env.time_limit=4.9"])
    with pytest.raises(ValueError, match=r"reward.timeout_s=10.0 must be more than twice env.time_limit=5.0"):
        compose_config(["env=code", "model=qwen-0.5b", "env.time_limit=5"])


def test_a_file_of_another_group_is_refused_as_a_task():
    with pytest.raises(ValueError, match="env: not a task; give the name of a file in conf/env/"):
        compose_config(["env=../model/tiny"])


def test_keys_can_be_added_to_dictionaries_and_existing_ones_overridden():
    cfg = compose_config(["+reward.weights.format=0.2", "++num_steps=3"])
    assert cfg.reward.weights["format"] == 0.2 and cfg.num_steps == 3
    mixed = compose_config(["env=mixed", "+env@env.parts.gsm8k=gsm8k", "+env.weights.gsm8k=1"])
    assert set(mixed.env.parts) == {"countdown", "multiplication", "gsm8k"}


@pytest.mark.parametrize("run", ["", " ", ".", "..", "../elsewhere", "a/../..", "/tmp"])
def test_the_folder_of_a_run_is_inside_outputs(run):
    with pytest.raises(ValueError, match="must be the name of a folder in outputs/"):
        RunFolder.of(run)
    assert RunFolder.of("sweeps/lr/1").path == Path("outputs/sweeps/lr/1")


@pytest.mark.parametrize("override", ["algorithm.grop_size=4", "algorithm.group_size=1", "+algorithm.group=1"])
def test_a_config_error_is_one_line_and_starts_nothing(override):
    command = [sys.executable, ROOT / "train_grpo.py", override, "run=refused"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: algorithm.gro") and done.stderr.count("\n") == 1
    assert not (ROOT / "outputs" / "refused").exists()


def test_an_override_that_hydra_cannot_parse_is_named():
    with pytest.raises(ValueError, match="^run=größer: not a valid Hydra override; quote values with special"):
        compose_training(["run=größer"])


def test_a_run_folder_with_other_settings_is_rejected(tmp_path):
    from run.folder import RunFolder

    folder = RunFolder(tmp_path / "run")
    folder.claim({"run": "run", "seed": 0, "num_steps": 5})
    folder.write_config({"run": "run", "seed": 0, "num_steps": 5})
    folder.claim({"run": "run", "seed": 0, "num_steps": 10})
    with pytest.raises(ValueError, match="run=run was started with seed=0, but now seed=1; choose another run=NAME"):
        folder.claim({"run": "run", "seed": 1, "num_steps": 10})
    assert yaml.safe_load(folder.config.read_text())["num_steps"] == 5  # a run that only is asked for is not changed


def test_a_run_of_a_version_that_recorded_less_is_resumed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    older = {"run": "run", "model": {"name": "tiny"}}
    folder.claim(older)
    folder.write_config(older)
    folder.claim({**older, "groups": {"model": "tiny"}, "problems": {"sha256": "ab"}})
    assert yaml.safe_load(folder.config.read_text()) == older


def test_a_run_is_not_resumed_with_another_number_of_held_out_problems(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim({"run": "run", "evaluation": {"num_problems": 512, "every": 10}})
    folder.write_config({"run": "run", "evaluation": {"num_problems": 512, "every": 10}})
    folder.claim({"run": "run", "evaluation": {"num_problems": 512, "every": 5}})
    with pytest.raises(ValueError, match="evaluation.num_problems=512, but now evaluation.num_problems=64; choose"):
        folder.claim({"run": "run", "evaluation": {"num_problems": 64, "every": 10}})


def test_a_run_is_not_resumed_with_asynchronous_generation(tmp_path):
    folder = RunFolder(tmp_path / "run")
    settings = {"run": "run", "topology": {"num_gpus": 2, "max_off_policy_steps": 0}}
    folder.claim(settings)
    folder.write_config(settings)
    folder.claim({"run": "run", "topology": {"num_gpus": 4, "max_off_policy_steps": 0}})
    with pytest.raises(ValueError, match="topology.max_off_policy_steps=0, but now topology.max_off_policy_steps=1"):
        folder.claim({"run": "run", "topology": {"num_gpus": 2, "max_off_policy_steps": 1}})


@pytest.mark.parametrize(("schedule", "warns"), [("linear", True), ("cosine", True), ("constant_with_warmup", False)])
@pytest.mark.parametrize("key", ["algorithm", "sft"])
def test_other_steps_for_a_learning_rate_that_decays_are_warned_of(tmp_path, capsys, schedule, warns, key):
    optimizer = {"optimizer": {"schedule": schedule}}
    settings = {"run": "run", **({"algorithm": optimizer} if key == "algorithm" else optimizer)}
    folder = RunFolder(tmp_path)
    for steps in (5, 10):  # nothing was trained before the second start
        folder.write_config(settings | {"num_steps": steps})
    (folder.checkpoints / "step_000005").mkdir(parents=True)
    folder.write_config(settings | {"num_steps": 10})
    assert capsys.readouterr().err == ""
    folder.write_config(settings | {"num_steps": 20})
    assert ("warning: num_steps=20 was 10 when the run was last started" in capsys.readouterr().err) == warns
    assert yaml.safe_load(folder.config.read_text())["num_steps"] == 20


def test_overrides_that_name_data_are_those_of_train_sft():
    assert isinstance(compose_training(["data.paths=[rows.jsonl]", "model=tiny"]), SftConfig)
    assert isinstance(compose_training(["model=tiny", "env=countdown"]), Config)


def test_a_second_signal_ends_a_run_in_one_line(capsys):
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        launch(main, Config)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped at once; the same command continues from what has been written\n"

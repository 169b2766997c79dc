"""The presets of conf/experiment/ are compared with the published settings, key by key."""

from pathlib import Path

import pytest

from conf.compose import compose_config

PRESETS = sorted(path.stem for path in Path("conf/experiment").glob("*.yaml"))
# From scripts/train_tiny_zero.sh of TinyZero; keys marked "verl" are not set there and have the defaults of
# verl/trainer/config/ppo_trainer.yaml, or of verl/workers/fsdp_workers.py.
TINYZERO = {
    "data.train_batch_size": 256,
    "data.max_prompt_length": 256,
    "data.max_response_length": 1024,
    "actor.optim.lr": 1e-6,
    "actor.ppo_mini_batch_size": 128,
    "rollout.gpu_memory_utilization": 0.4,
    "algorithm.kl_ctrl.kl_coef": 0.001,
    "verl: rollout.temperature": 1.0,
    "verl: rollout.top_p": 1.0,
    "verl: actor.clip_ratio": 0.2,
    "verl: actor.grad_clip": 1.0,
    "verl: actor.entropy_coeff": 0.001,
    "verl: actor.ppo_epochs": 1,
    "verl: actor.optim.lr_warmup_steps_ratio": 0,
    "verl: actor.optim.betas": (0.9, 0.999),
    "verl: actor.optim.weight_decay": 0.01,
    "examples/data_preprocess/countdown.py: data": "Jiayi-Pan/Countdown-Tasks-3to4",
    "examples/data_preprocess/countdown.py: test_size": 1024,
    "reward_score/countdown.py: score": 1.0,
    "reward_score/countdown.py: format_score": 0.1,
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_composes_and_names_its_run(name):
    cfg = compose_config([f"experiment={name}"])
    assert cfg.run.startswith(name) and cfg.run.endswith("-seed0")
    assert cfg.topology.name == "auto" and cfg.rollout.kv_cache_gb is None


@pytest.mark.parametrize("size", ["0.5b", "1.5b", "3b"])
def test_the_tinyzero_presets_have_the_published_settings(size):
    cfg = compose_config([f"experiment=tinyzero_countdown_{size}"])
    algorithm = cfg.algorithm
    assert cfg.model.path == f"Qwen/Qwen2.5-{size.upper()}" and not cfg.model.lora.rank
    assert algorithm.loss.clip_low == algorithm.loss.clip_high
    assert {
        "data.train_batch_size": algorithm.num_completions,
        "data.max_prompt_length": cfg.model.max_prompt_tokens,
        "data.max_response_length": cfg.model.max_completion_tokens,
        "actor.optim.lr": algorithm.optimizer.lr,
        "actor.ppo_mini_batch_size": algorithm.num_completions // algorithm.num_minibatches,
        "rollout.gpu_memory_utilization": cfg.rollout.gpu_memory_utilization,
        "algorithm.kl_ctrl.kl_coef": algorithm.kl.coef,
        "verl: rollout.temperature": algorithm.sampling.temperature,
        "verl: rollout.top_p": algorithm.sampling.top_p,
        "verl: actor.clip_ratio": algorithm.loss.clip_low,
        "verl: actor.grad_clip": algorithm.optimizer.max_grad_norm,
        "verl: actor.entropy_coeff": algorithm.loss.entropy_coef,
        "verl: actor.ppo_epochs": algorithm.num_epochs,
        "verl: actor.optim.lr_warmup_steps_ratio": algorithm.optimizer.warmup_steps,
        "verl: actor.optim.betas": (algorithm.optimizer.beta1, algorithm.optimizer.beta2),
        "verl: actor.optim.weight_decay": algorithm.optimizer.weight_decay,
        "examples/data_preprocess/countdown.py: data": cfg.env.data,
        "examples/data_preprocess/countdown.py: test_size": cfg.evaluation.num_problems,
        "reward_score/countdown.py: score": sum(cfg.reward.weights.values()),
        "reward_score/countdown.py: format_score": cfg.reward.weights["answered"],
    } == TINYZERO


def test_the_gsm8k_preset_has_the_settings_of_the_grpo_paper():
    # arXiv 2402.03300, 4.2: "learning rate of the policy model as 1e-6, KL coefficient 0.04, 64 outputs for each
    # question, max length 1024, training batch size 1024, a single update following each exploration stage"
    cfg = compose_config(["experiment=gsm8k_1.5b"])
    algorithm = cfg.algorithm
    assert (algorithm.optimizer.lr, algorithm.kl.coef, algorithm.group_size) == (1e-6, 0.04, 64)
    assert (cfg.model.max_completion_tokens, algorithm.num_completions, algorithm.num_updates) == (1024, 1024, 1)
    assert algorithm.loss.aggregation == "sequence" and algorithm.advantage.scale == "group_std"
    # One epoch: 7,473 questions with 16 per step are 467.06 steps.
    assert cfg.num_steps == 7473 // algorithm.num_prompts and cfg.evaluation.num_problems == 1319


def test_the_24_gb_preset_is_tinyzero_with_adapters():
    cfg, full = compose_config(["experiment=one_24gb"]), compose_config(["experiment=tinyzero_countdown_1.5b"])
    assert cfg.model.lora.rank == 32 and (full.algorithm.optimizer.lr, cfg.algorithm.optimizer.lr) == (1e-6, 1e-5)
    assert (cfg.env, cfg.algorithm.kl, cfg.algorithm.loss) == (full.env, full.algorithm.kl, full.algorithm.loss)


def test_a_preset_can_be_overridden_and_an_unknown_name_is_rejected():
    cfg = compose_config(["experiment=one_24gb", "model=qwen-3b", "num_steps=7"])
    assert (cfg.run, cfg.model.name, cfg.num_steps) == ("one_24gb-qwen-3b-seed0", "qwen-3b", 7)
    with pytest.raises(ValueError, match="experiment=nothing: unknown; allowed are gsm8k_1.5b, one_24gb, tinyzero_"):
        compose_config(["experiment=nothing"])

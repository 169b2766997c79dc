import dataclasses

import pytest
import torch

from conf.schema import AlgorithmConfig, ModelConfig, OptimizerConfig
from grpo.losses import AGGREGATIONS, grpo_loss, token_weights
from tests.builders import random_batch, small_model
from workers.policy import Policy, TrainedPolicy


@pytest.fixture
def model_config(tmp_path, monkeypatch):
    small_model().save_pretrained(tmp_path / "model")
    return ModelConfig(name="small", path=str(tmp_path / "model"))


def policy(model_config, **settings) -> TrainedPolicy:
    optimizer = OptimizerConfig(lr=1e-2)
    return TrainedPolicy(model_config, AlgorithmConfig(**settings, optimizer=optimizer), "cpu", num_steps=10)


def gradients(trained: TrainedPolicy, batch) -> list[torch.Tensor]:
    trained._accumulate_gradients(batch)
    return [parameter.grad.clone() for parameter in trained.model.parameters()]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_many_micro_batches_give_the_gradient_of_one(model_config, aggregation):
    batch = random_batch([1, 9, 4, 6, 2, 8])
    one = gradients(policy(model_config, aggregation=aggregation, micro_batch_tokens=10_000), batch)
    many = gradients(policy(model_config, aggregation=aggregation, micro_batch_tokens=12), batch)
    for whole, parts in zip(one, many, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)


def test_the_gradient_equals_that_of_the_loss_written_out(model_config):
    """Full logits, no chunks, no micro-batches."""
    batch = random_batch([3, 5, 2])
    trained = policy(model_config, kl_coef=0.1, micro_batch_tokens=16)
    found = gradients(trained, batch)
    model = small_model()
    model.load_state_dict(trained.model.state_dict())
    logits = model(input_ids=batch.input_ids).logits.log_softmax(-1)
    rows = []
    for row, length in enumerate(batch.mask.sum(1).tolist()):
        positions = range(3, 3 + length)
        rows.append(torch.stack([logits[row, t - 1, batch.input_ids[row, t]] for t in positions]))
    logprobs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    terms = grpo_loss(logprobs, batch.old_logprobs, batch.advantages, batch.ref_logprobs, 0.2, 0.2, 0.1)
    (token_weights(batch.mask, "token", 64) * terms.loss).sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, atol=1e-5)


def test_logprobs_do_not_depend_on_the_micro_batches(model_config):
    batch = random_batch([1, 9, 4, 6])
    small = Policy(model_config, AlgorithmConfig(micro_batch_tokens=12), "cpu").logprobs(batch)
    large = Policy(model_config, AlgorithmConfig(micro_batch_tokens=10_000), "cpu").logprobs(batch)
    assert torch.allclose(small, large, atol=1e-5)
    assert not small[~batch.mask].any()


def test_equal_rewards_leave_the_weights_alone(model_config):
    trained = policy(model_config, kl_coef=0.0)
    before = [p.clone() for p in trained.model.parameters()]
    batch = dataclasses.replace(random_batch([3, 4]), advantages=torch.zeros(2))
    trained.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True))


def test_an_update_makes_good_completions_likelier(model_config):
    trained = policy(model_config, kl_coef=0.0)
    batch = dataclasses.replace(random_batch([4, 4]), advantages=torch.tensor([1.0, -1.0]))
    batch = dataclasses.replace(batch, old_logprobs=trained.logprobs(batch))
    metrics = trained.update(batch)
    change = (trained.logprobs(batch) - batch.old_logprobs).sum(1)
    assert change[0] > 0 > change[1]
    assert metrics["policy_ratio"] == pytest.approx(1.0) and metrics["grad_norm"] > 0


def test_two_updates_a_step_keep_old_logprobs_frozen(model_config):
    trained = policy(model_config, num_updates=2, num_prompts=1, group_size=4)
    batch = random_batch([4, 4, 4, 4])
    batch = dataclasses.replace(batch, old_logprobs=trained.logprobs(batch))
    # the second half sees weights that have moved, so its mean ratio is no longer 1
    assert trained.update(batch)["policy_ratio"] != pytest.approx(1.0, abs=1e-4)


def test_save_and_load_continue_to_the_bit(model_config, tmp_path):
    batch = random_batch([4, 6])
    straight, first, second = (policy(model_config) for _ in range(3))
    tokenizer_free(first)
    for _ in range(4):
        straight.update(batch)
    for _ in range(2):
        first.update(batch)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    for _ in range(2):
        second.update(batch)
    for one, other in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def tokenizer_free(trained: TrainedPolicy) -> None:
    """The small model has no tokenizer; the shipped one stands in for it."""
    trained.source = "models/tiny"


def test_frozen_parameters_do_not_move(model_config):
    trained = policy(dataclasses.replace(model_config, frozen=["embed_tokens"]))
    before = trained.model.model.embed_tokens.weight.clone()
    other = trained.model.model.layers[0].mlp.up_proj.weight.clone()
    trained.update(random_batch([4, 6]))
    assert torch.equal(before, trained.model.model.embed_tokens.weight)
    assert not torch.equal(other, trained.model.model.layers[0].mlp.up_proj.weight)


def test_freezing_what_does_not_exist_is_refused(model_config):
    with pytest.raises(ValueError, match="model.frozen=nothing"):
        policy(dataclasses.replace(model_config, frozen=["nothing"]))

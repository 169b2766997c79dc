import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM

from conf.algorithms import AlgorithmConfig, OptimizerConfig
from conf.workers import LoraConfig, ModelConfig, TopologyConfig
from grpo.grpo import ppo_loss, token_losses, token_weights
from grpo.settings import AGGREGATIONS, LOSSES, CorrectionConfig, KlConfig, LossConfig
from tests.builders import random_batch, saved_small_model, small_model
from workers.actor import Actor, Reference
from workers.weights import Transfer, publish


@pytest.fixture
def model_config(tmp_path):
    return saved_small_model(tmp_path / "model")


def actor(model_config, num_steps=10, **settings) -> Actor:
    settings = {"optimizer": OptimizerConfig(lr=1e-2)} | settings
    return Actor(model_config, AlgorithmConfig(**settings), TopologyConfig(), num_steps)


def reference_of(model_config, **settings) -> Reference:
    return Reference(model_config, AlgorithmConfig(**settings), TopologyConfig())


def gradients(trained: Actor, batch) -> list[torch.Tensor]:
    trained._backward(batch)
    return [parameter.grad.clone() for parameter in trained.model.parameters()]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_many_micro_batches_give_the_gradient_of_one(model_config, name, aggregation):
    batch = random_batch([1, 9, 4, 6, 2, 8])
    loss = LossConfig(name, aggregation=aggregation, entropy_coef=0.01)
    one = gradients(actor(model_config, loss=loss, micro_batch_tokens=10_000), batch)
    many = gradients(actor(model_config, loss=loss, micro_batch_tokens=12), batch)
    for whole, parts in zip(one, many, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)


def test_gradient_checkpointing_recomputes_each_layer_and_keeps_the_gradients(model_config):
    batch, found, runs = random_batch([3, 5, 2]), {}, {}
    for on in (False, True):
        trained = actor(dataclasses.replace(model_config, gradient_checkpointing=on))
        runs[on] = []
        for layer in trained.model.get_decoder().layers:
            layer.mlp.register_forward_pre_hook(lambda *_, on=on: runs[on].append(1))
        found[on] = gradients(trained, batch)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found[False], found[True], strict=True))
    assert len(runs[True]) == 2 * len(runs[False]) == 4


def test_the_gradient_equals_that_of_a_naive_implementation(model_config):
    """The naive loss uses full logits, without chunks and micro-batches."""
    batch = random_batch([3, 5, 2])
    trained = actor(model_config, kl=KlConfig(0.1), micro_batch_tokens=16)
    found = gradients(trained, batch)
    model = small_model()
    model.load_state_dict(trained.model.state_dict())
    logits = model(input_ids=batch.input_ids).logits.log_softmax(-1)
    rows = []
    for row, length in enumerate(batch.mask.sum(1).tolist()):
        positions = range(3, 3 + length)
        rows.append(torch.stack([logits[row, t - 1, batch.input_ids[row, t]] for t in positions]))
    logprobs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    nothing = torch.zeros_like(logprobs)
    per_token, _ = token_losses(ppo_loss, batch, logprobs, nothing, LossConfig(), KlConfig(0.1), CorrectionConfig())
    (token_weights(batch.mask, "token", 64) * per_token).sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, atol=1e-5)


def test_logprobs_do_not_depend_on_the_micro_batches(model_config):
    batch = random_batch([1, 9, 4, 6])
    small = reference_of(model_config, micro_batch_tokens=12).logprobs(batch)
    large = reference_of(model_config, micro_batch_tokens=10_000).logprobs(batch)
    assert torch.allclose(small, large, atol=1e-5)
    assert not small[~batch.mask].any()


def test_zero_advantages_do_not_change_the_weights(model_config):
    trained = actor(model_config, kl=KlConfig(0.0))
    before = [p.clone() for p in trained.model.parameters()]
    batch = dataclasses.replace(random_batch([3, 4]), advantages=torch.zeros(2, 4))
    trained.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True))


def test_an_update_makes_good_completions_more_likely(model_config):
    trained = actor(model_config, kl=KlConfig(0.0))
    advantages = torch.tensor([[1.0], [-1.0]]).expand(2, 4)
    batch = dataclasses.replace(random_batch([4, 4]), advantages=advantages)
    batch = dataclasses.replace(batch, old_logprobs=trained.logprobs(batch))
    metrics = trained.update(batch).metrics
    change = (trained.logprobs(batch) - batch.old_logprobs).sum(1)
    assert change[0] > 0 > change[1]
    assert metrics["policy_ratio"] == pytest.approx(1.0) and metrics["grad_norm"] > 0


def test_several_updates_per_step_share_the_log_probabilities_of_the_old_policy(model_config):
    trained = actor(model_config, num_minibatches=2, num_prompts=1, group_size=4)
    batch = dataclasses.replace(random_batch([4, 4, 4, 4]), old_logprobs=None)
    before = trained.logprobs(batch)
    result = trained.update(batch)
    assert torch.equal(result.old_logprobs, before)
    # the second mini-batch is computed with new weights, so the mean ratio of the step is not 1
    assert result.metrics["policy_ratio"] != pytest.approx(1.0, abs=1e-4)


def test_a_single_update_takes_the_old_log_probabilities_from_its_own_forward_pass(model_config):
    batch = dataclasses.replace(random_batch([3, 5, 2, 4]), old_logprobs=None)
    settings = {"micro_batch_tokens": 16, "correction": CorrectionConfig("token")}
    straight, prepared = actor(model_config, **settings), actor(model_config, **settings)
    before = prepared.logprobs(batch)
    expected = prepared.update(dataclasses.replace(batch, old_logprobs=before))
    forwards = []
    straight.model.get_decoder().register_forward_pre_hook(lambda *_: forwards.append(1))
    found = straight.update(batch)
    assert len(forwards) == len(list(straight._microbatches(batch)))  # and no pass before the update
    assert torch.equal(found.old_logprobs, before) and found.metrics == expected.metrics
    for one, other in zip(straight.model.parameters(), prepared.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_kl_in_the_reward_changes_the_advantages_before_the_update(model_config):
    trained = actor(model_config, kl=KlConfig(0.2, "reward", "k1"))
    batch = dataclasses.replace(random_batch([2, 3]), old_logprobs=None)
    complete = trained._complete(batch, trained.logprobs(batch) - 0.5 * batch.mask)  # k1 is 0.5 per token
    assert torch.equal(complete.old_logprobs, trained.logprobs(batch))
    # rewards 0 - 0.2 * 0.5 * 2 = -0.2 and -0.3: mean -0.25, population std 0.05, epsilon 1e-4
    expected = torch.tensor([[1.0, 1.0, 0.0], [-1.0, -1.0, -1.0]]) * 0.05 / 0.0501
    assert torch.allclose(complete.advantages, expected, atol=1e-4)


def test_weights_are_written_to_shared_memory_only_if_they_are_read_there(model_config, tmp_path):
    trained = actor(model_config, kl=KlConfig(0.1, ref_sync_steps=2))
    trained.info = dataclasses.replace(trained.info, folder=tmp_path)
    assert trained.publish_weights(1).path is not None
    trained.transfer = Transfer.NCCL
    direct = trained.publish_weights(3)
    assert direct.path is None and direct.transfer is Transfer.NCCL
    for_reference = trained.publish_weights(4)  # the reference is synced with every second version
    reference = reference_of(model_config)
    reference.load_weights(for_reference)


def test_a_resumed_actor_equals_an_uninterrupted_one_to_the_bit(model_config, tmp_path):
    batch = random_batch([4, 6])
    straight, first, second = (actor(model_config) for _ in range(3))
    use_tiny_tokenizer(first)
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


def test_an_actor_that_resumes_from_before_its_first_update_equals_an_uninterrupted_one(model_config, tmp_path):
    batch = random_batch([4, 6])
    straight, first, second = (actor(model_config) for _ in range(3))
    use_tiny_tokenizer(first)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    for trained in (straight, first, second):
        trained.update(batch)
        trained.update(batch)
    for one, *others in zip(*(each.model.parameters() for each in (straight, first, second)), strict=True):
        assert all(torch.equal(one, other) for other in others)


def test_a_run_that_is_extended_has_the_learning_rate_of_its_new_length(model_config, tmp_path):
    optimizer = OptimizerConfig(lr=1e-3, schedule="linear")
    first = actor(model_config, optimizer=optimizer, num_steps=2)
    use_tiny_tokenizer(first)
    for _ in range(2):
        first.update(random_batch([4, 6]))
    assert first.optimizer.param_groups[0]["lr"] == 0
    first.save(tmp_path / "checkpoint")
    longer = actor(model_config, optimizer=optimizer, num_steps=4)
    longer.load(tmp_path / "checkpoint")
    assert longer.optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)


def use_tiny_tokenizer(trained: Actor) -> None:
    """The small model has no tokenizer; save that of the shipped tiny model with it."""
    trained.source = "envs/countdown/models/tiny"


def test_frozen_parameters_do_not_move(model_config):
    trained = actor(dataclasses.replace(model_config, frozen=["embed_tokens"]))
    before = trained.model.model.embed_tokens.weight.clone()
    other = trained.model.model.layers[0].mlp.up_proj.weight.clone()
    trained.update(random_batch([4, 6]))
    assert torch.equal(before, trained.model.model.embed_tokens.weight)
    assert not torch.equal(other, trained.model.model.layers[0].mlp.up_proj.weight)


def test_a_frozen_prefix_that_matches_nothing_is_rejected(model_config):
    with pytest.raises(ValueError, match="model.frozen=nothing matches no parameter name"):
        actor(dataclasses.replace(model_config, frozen=["nothing"]))


def test_two_epochs_equal_two_updates_with_the_same_rollouts(model_config):
    batch = random_batch([3, 4, 5, 2])
    twice = actor(model_config, num_minibatches=2, num_epochs=2, num_prompts=1, group_size=4)
    once = actor(model_config, num_minibatches=2, num_prompts=1, group_size=4)
    twice.update(batch)
    once.update(batch)
    once.update(batch)
    for one, other in zip(twice.model.parameters(), once.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_update_whose_gradient_is_not_finite_is_skipped_and_counted(model_config):
    trained = actor(model_config)
    before = [p.clone() for p in trained.model.parameters()]
    good = random_batch([3, 4])
    broken = dataclasses.replace(good, advantages=torch.full((2, 4), float("nan")))
    assert [trained.update(broken).skipped_in_a_row for _ in range(2)] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True))
    metrics = trained.update(good).metrics
    assert (metrics["skipped"], metrics["skipped_in_row"]) == (0, 0)
    assert not all(torch.equal(a, b) for a, b in zip(before, trained.model.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in trained.model.parameters())


def test_the_entropy_bonus_makes_the_policy_less_certain(model_config):
    batch = dataclasses.replace(random_batch([6, 6]), advantages=torch.zeros(2, 6))
    loss, optimizer = LossConfig(entropy_coef=1.0), OptimizerConfig(lr=1e-3)
    trained = actor(model_config, kl=KlConfig(0.0), loss=loss, optimizer=optimizer)
    entropies = [trained.update(batch).metrics["entropy"] for _ in range(4)]
    assert entropies == sorted(entropies) and entropies[0] < entropies[-1]


def test_small_updates_are_kept_when_the_computation_is_in_bfloat16(model_config):
    """The smallest change in bfloat16 is 2^-8 of a weight; at this learning rate updates are smaller."""
    half = dataclasses.replace(model_config, dtype="bfloat16")
    trained = actor(half, optimizer=OptimizerConfig(lr=1e-6))
    before = trained.model.model.layers[0].mlp.up_proj.weight.clone()
    trained.update(random_batch([4, 6]))
    after = trained.model.model.layers[0].mlp.up_proj.weight
    assert after.dtype == torch.float32 and not torch.equal(before, after)
    assert (before.bfloat16() != after.bfloat16()).float().mean() < 0.01
    published = dict(trained.iter_weights())
    assert {tensor.dtype for tensor in published.values()} == {torch.bfloat16}


def test_a_bfloat16_checkpoint_records_its_type_and_resumes_in_float32(model_config, tmp_path):
    half = dataclasses.replace(model_config, dtype="bfloat16")
    first = actor(half)
    use_tiny_tokenizer(first)
    first.update(random_batch([4, 6]))
    first.save(tmp_path / "checkpoint")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint" / "hf", dtype="auto")
    assert saved.dtype == torch.bfloat16
    second = actor(half)
    second.load(tmp_path / "checkpoint")
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_bfloat16_logprobs_are_close_to_those_of_float32(model_config):
    batch = random_batch([4, 6])
    half = reference_of(dataclasses.replace(model_config, dtype="bfloat16")).logprobs(batch)
    full = reference_of(model_config).logprobs(batch)
    assert torch.allclose(half, full, atol=0.1) and not torch.equal(half, full)


@pytest.fixture
def lora_config(model_config):
    return dataclasses.replace(model_config, lora=LoraConfig(rank=4, alpha=8))


def test_only_the_adapter_trains(lora_config):
    trained = actor(lora_config)
    before = {name: p.clone() for name, p in trained.model.named_parameters()}
    trained.update(random_batch([4, 6]))
    for name, parameter in trained.model.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
        assert torch.equal(parameter, before[name]) == (".lora_A." in name or ".lora_" not in name), name


def test_the_reference_of_a_lora_run_is_the_base_without_the_adapter(lora_config, model_config):
    trained, batch = actor(lora_config), random_batch([4, 6])
    base = reference_of(model_config).logprobs(batch)
    assert torch.equal(trained.logprobs(batch), base)
    trained.update(batch)
    given = dataclasses.replace(batch, ref_logprobs=None)
    assert torch.equal(trained._complete(given, None).ref_logprobs, base)
    assert not torch.allclose(trained.logprobs(batch), base)


def test_the_inputs_of_a_float32_adapter_stay_bfloat16(lora_config):
    trained, dtypes = actor(dataclasses.replace(lora_config, dtype="bfloat16")), set()
    for name, module in trained.model.named_modules():
        if name.endswith("lora_A"):
            module["default"].register_forward_pre_hook(lambda _, inputs: dtypes.add(inputs[0].dtype))
    trained.update(random_batch([4, 6]))
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for n, p in trained.model.named_parameters() if ".lora_" in n} == {torch.float32}


def test_merged_weights_have_the_names_of_the_base_model(lora_config, model_config, tmp_path):
    trained, batch = actor(lora_config), random_batch([4, 6])
    trained.update(batch)
    before = {name: p.clone() for name, p in trained.model.named_parameters()}
    plain = reference_of(model_config)
    plain.load_weights(publish(trained.iter_weights(), tmp_path, version=1))
    assert torch.allclose(plain.logprobs(batch), trained.logprobs(batch), atol=1e-5)
    assert all(torch.equal(p, before[name]) for name, p in trained.model.named_parameters())


def test_an_adapter_resumes_to_the_bit_and_is_saved_merged_and_separately(lora_config, model_config, tmp_path):
    straight, first, second = (actor(lora_config) for _ in range(3))
    use_tiny_tokenizer(first)
    batch = random_batch([3, 4, 5, 2])
    for name, parameter in straight.model.named_parameters():  # adapters are initialized at random
        for other in (first, second):
            dict(other.model.named_parameters())[name].data.copy_(parameter)
    for _ in range(3):
        straight.update(batch)
    first.update(batch)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    for _ in range(2):
        second.update(batch)
    for one, other in zip(straight.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    merged = reference_of(dataclasses.replace(model_config, path=str(tmp_path / "checkpoint" / "hf")))
    assert torch.allclose(merged.logprobs(batch), first.logprobs(batch), atol=1e-5)
    assert (tmp_path / "checkpoint" / "adapter" / "adapter_config.json").is_file()


def test_the_reference_loads_the_actor_s_weights_and_can_be_saved(model_config, tmp_path):
    trained, batch = actor(model_config), random_batch([4, 6])
    reference, restarted = (reference_of(model_config) for _ in range(2))
    trained.update(batch)
    reference.load_weights(publish(trained.iter_weights(), tmp_path, version=1))
    assert torch.equal(reference.logprobs(batch), trained.logprobs(batch))
    reference.save(tmp_path / "reference.safetensors")
    restarted.load(tmp_path / "reference.safetensors")
    assert torch.equal(restarted.logprobs(batch), trained.logprobs(batch))


def test_the_8_bit_optimizer_follows_adamw_and_resumes(tmp_path):
    pytest.importorskip("bitsandbytes")
    small_model(vocabulary=512).save_pretrained(tmp_path / "model")  # tensors of fewer than 4096 values stay in 32 bits
    model_config = ModelConfig(name="small", path=str(tmp_path / "model"))
    batch = random_batch([4, 6])
    full = actor(model_config)
    eight = actor(model_config, optimizer=OptimizerConfig(name="adamw_8bit", lr=1e-2))
    start = torch.cat([p.detach().flatten() for p in full.model.parameters()])
    for _ in range(3):
        full.update(batch)
        eight.update(batch)
    states = [state for state in eight.optimizer.state.values() if state["state1"].dtype == torch.uint8]
    assert len(states) == 1  # the embedding's
    moved = [torch.cat([p.detach().flatten() for p in one.model.parameters()]) - start for one in (full, eight)]
    assert torch.nn.functional.cosine_similarity(*moved, dim=0) > 0.95
    use_tiny_tokenizer(eight)
    eight.save(tmp_path / "checkpoint")
    again = actor(model_config, optimizer=OptimizerConfig(name="adamw_8bit", lr=1e-2))
    again.load(tmp_path / "checkpoint")
    again.update(batch)
    eight.update(batch)
    for one, other in zip(again.model.parameters(), eight.model.parameters(), strict=True):
        assert torch.equal(one, other)

import pytest
import torch

from conf.algorithms import OptimizerConfig
from conf.sft import DataConfig, SftConfig
from conf.workers import LoraConfig, ModelConfig, TopologyConfig
from tests.builders import example, saved_small_model, small_model
from workers.actor import Actor
from workers.rank_group import ALONE, RankInfo
from workers.step_plan import StepPlan, example_batch


def test_an_epoch_has_every_example_once_in_batches_of_at_most_so_many_tokens():
    examples = [example([1, 2], range(index % 7 + 1)) for index in range(50)]
    plan = StepPlan(examples, batch_tokens=30, seed=3)
    steps = [plan.step(step) for step in range(plan.num_steps(1))]
    assert sorted(map(id, sum(steps, []))) == sorted(map(id, examples))
    assert all(sum(one.num_tokens for one in step) <= 30 for step in steps)
    assert [plan.step(4), plan.step(len(steps) + 2)] == [StepPlan(examples, 30, 3).step(4), plan.step(len(steps) + 2)]
    assert plan.step(0) != plan.step(len(steps))  # the second epoch has another order
    assert plan.num_steps(1.5) == len(steps) + -(-len(plan.epoch(1)) // 2)
    assert plan.epoch_of(len(steps) - 1) == 1


def test_a_tenth_of_an_epoch_of_ten_batches_is_one_step():
    plan = StepPlan([example([1], range(4)) for _ in range(10)], batch_tokens=5, seed=0)
    assert [plan.num_steps(epochs) for epochs in (1.0, 1.1, 1.11, 1.2, 0.01)] == [10, 11, 12, 12, 1]


def test_an_example_longer_than_a_batch_is_a_batch_of_its_own():
    plan = StepPlan([example([1], range(9)), example([1], range(2))], batch_tokens=5, seed=0)
    assert sorted(len(plan.step(step)) for step in range(plan.num_steps(1))) == [1, 1]


def test_weights_are_scaled_to_a_mean_of_one_over_the_tokens_that_carry_loss():
    batch = example_batch(
        [example([1], [5, 6], weight=3.0), example([1], [7, 8, 9, 4], loss=[True, True, False, False])]
    )
    # The weights are 3, 3, 1, 1: their mean is 2.
    assert batch.advantages.tolist() == [[1.5, 1.5, 0, 0], [0.5, 0.5, 0, 0]]
    assert batch.mask.sum() == 6 and batch.loss_mask.sum() == 4
    assert batch.group_ids.tolist() == [0, 0]


def test_a_batch_is_filled_up_for_several_ranks_with_rows_that_carry_no_loss():
    batch = example_batch([example([1], [5, 6]), example([2], [7]), example([3], [7])], ranks=2)
    assert len(batch) == 4 and not batch.loss_mask[3].any() and not batch.advantages[3].any()
    assert batch.loss_mask[:3].sum() == 4


EXAMPLES = [
    example([3, 4, 5], [6, 7, 8, 9], weight=0.5),
    example([3, 4, 5], [9, 2]),
    example([7, 2], [4, 4, 6], loss=[True, False, True]),
    example([11], [12, 13, 14, 15, 16, 17, 18]),
]


@pytest.fixture
def model_config(tmp_path):
    return saved_small_model(tmp_path / "model")


def actor(model: ModelConfig, info: RankInfo = ALONE, **settings) -> Actor:
    data = DataConfig(["rows.jsonl"])
    cfg = SftConfig(run="sft", data=data, model=model, optimizer=OptimizerConfig(lr=1e-2), **settings)
    return Actor(model, cfg.algorithm, TopologyConfig(), num_steps=10, info=info)


def transformers_loss(model) -> torch.Tensor:
    """The same loss by transformers, one unpacked example after the other."""
    total, count = torch.zeros(()), 0.0
    for one in EXAMPLES:
        ids = torch.tensor([[*one.prompt_ids, *one.token_ids]])
        labels = torch.where(torch.tensor([[False] * len(one.prompt_ids) + list(one.carries_loss)]), ids, -100)
        learned = sum(one.carries_loss)
        total = total + one.weight * learned * model(input_ids=ids, labels=labels).loss
        count += one.weight * learned
    return total / count


@pytest.mark.parametrize("micro_batch_tokens", [1000, 8, 1])
def test_loss_and_gradient_equal_those_of_transformers(model_config, micro_batch_tokens):
    trained = actor(model_config, micro_batch_tokens=micro_batch_tokens)
    metrics, _ = trained._backward(example_batch(EXAMPLES))
    model = small_model()
    expected = transformers_loss(model)
    expected.backward()
    assert metrics["loss"] == pytest.approx(expected.item(), abs=1e-6)
    for found, plain in zip(trained.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(found.grad, plain.grad, atol=1e-6)


def test_an_update_with_an_adapter_lowers_the_loss_and_keeps_the_base_weights(model_config):
    model_config.lora = LoraConfig(rank=4)
    trained = actor(model_config)
    base = {name: p.clone() for name, p in trained.model.named_parameters() if "lora" not in name}
    losses = [trained.update(example_batch(EXAMPLES)).metrics["loss"] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, base[name]) for name, p in trained.model.named_parameters() if name in base)

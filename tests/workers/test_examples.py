import json

import pytest
import torch
from transformers import AutoTokenizer

from conf.algorithms import OptimizerConfig
from conf.sft import DataConfig, SftConfig
from conf.workers import LoraConfig, ModelConfig, TopologyConfig
from tests.builders import small_model
from workers.actor import Actor
from workers.examples import (
    Example,
    Examples,
    StepPlan,
    check_held_out,
    hold_out,
    load_examples,
    make_batch,
    read_example,
)
from workers.rank_group import ALONE, RankInfo

TINY = "envs/countdown/models/tiny"
CHATML = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if not loop.last or not continue_final_message %};{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"  # noqa: E501


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def chat_tokenizer(tmp_path_factory):
    """A tokenizer with one token for each character, and a chat template."""
    from tools.tiny_base.blank import make_tokenizer

    made = make_tokenizer([chr(code) for code in range(33, 127)])
    made.chat_template = CHATML
    return made


def example(prompt, tokens, weight=1.0, loss=None, origin="rows.jsonl:1", problem=None) -> Example:
    loss = loss or [True] * len(tokens)
    return Example(tuple(prompt), tuple(tokens), tuple(loss), weight, origin, problem)


def learned(found: Example, tokenizer) -> str:
    """The tokens that carry loss, as text."""
    kept = [token for token, carries in zip(found.token_ids, found.carries_loss, strict=True) if carries]
    return tokenizer.decode(kept)


def test_the_loss_of_a_prompt_and_completion_is_that_of_the_completion_and_its_end(tokenizer):
    found = read_example(
        {"prompt": "make 12 from 16 8 4\n<think>\n", "completion": " 16 - 8"}, tokenizer, "completion", ""
    )
    assert tokenizer.decode(found.prompt_ids) == "make 12 from 16 8 4\n<think>\n"
    assert learned(found, tokenizer) == " 16 - 8<|endoftext|>"


def test_a_truncated_completion_has_no_end(tokenizer):
    row = {"prompt": "make 12 from 16 8 4\n", "completion": " 16 - 8", "truncated": True}
    assert learned(read_example(row, tokenizer, "completion", ""), tokenizer) == " 16 - 8"


def test_a_completion_continues_the_last_message_of_the_assistant(chat_tokenizer):
    prompt = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so"}]
    found = read_example({"prompt": prompt, "completion": "far"}, chat_tokenizer, "completion", "")
    assert chat_tokenizer.decode(found.prompt_ids) == "[user]hi;[assistant]so"
    assert learned(found, chat_tokenizer) == "far<|endoftext|>"


def test_each_turn_of_the_assistant_carries_loss_and_nothing_else_does(chat_tokenizer):
    roles = ["system", "user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": f"{role[0]}{index}"} for index, role in enumerate(roles)]
    found = read_example({"messages": messages}, chat_tokenizer, "completion", "")
    assert learned(found, chat_tokenizer) == "a2;a4;"
    whole = chat_tokenizer.decode([*found.prompt_ids, *found.token_ids])
    assert whole == "[system]s0;[user]u1;[assistant]a2;[user]u3;[assistant]a4;"


def test_messages_of_a_completion_carry_loss_and_those_of_its_prompt_do_not(chat_tokenizer):
    prompt = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    row = {"prompt": prompt, "completion": [{"role": "assistant", "content": "b"}]}
    assert learned(read_example(row, chat_tokenizer, "completion", ""), chat_tokenizer) == "b;"


def test_all_tokens_but_the_first_carry_loss_on_request_and_in_plain_text(tokenizer):
    row = {"prompt": "make 12 from 16 8 4\n", "completion": " 16 - 8"}
    assert learned(read_example(row, tokenizer, "all", ""), tokenizer).endswith(" 12 from 16 8 4\n 16 - 8<|endoftext|>")
    text = read_example({"text": " 16 - 8"}, tokenizer, "completion", "")
    assert tokenizer.decode(text.prompt_ids) == " 16" and learned(text, tokenizer) == " - 8<|endoftext|>"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "make"}], "rows.jsonl:1 must have the fields"),
        ([{"prompt": 3, "completion": " 1"}], "rows.jsonl:1 must have the fields"),
        ([{"prompt": " 1", "completion": " 1", "weight": -1}], "rows.jsonl:1: weight must be 0 or more"),
        ([{"messages": [{"role": "user", "content": " 1"}]}], "has messages, but the model has no chat template"),
        (["not an object"], "rows.jsonl:1: not a JSON object"),
        ([], "has no example"),
    ],
)
def test_a_malformed_row_is_an_error_with_its_line(tmp_path, tokenizer, rows, message):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=message):
        load_examples(DataConfig([str(path)]), tokenizer, 100)


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_examples_that_do_not_fit_are_left_out_and_named(tmp_path, tokenizer):
    rows = [{"prompt": " 1", "completion": " 2" * count} for count in (1, 9, 2)]
    found = load_examples(DataConfig([write(tmp_path / "rows.jsonl", rows)]), tokenizer, 5)
    assert [one.num_tokens for one in found.training] == [3, 4]
    assert [one.origin for one in found.too_long] == [f"{tmp_path}/rows.jsonl:2"]


def test_a_ratio_takes_the_largest_parts_with_these_proportions(tmp_path, tokenizer):
    traces = write(tmp_path / "a.jsonl", [{"prompt": " 1", "completion": f" {n}"} for n in range(30)])
    general = write(tmp_path / "b.jsonl", [{"prompt": " 2", "completion": f" {n}"} for n in range(20)])
    found = load_examples(DataConfig([traces, general], ratio=[3, 1], held_out_rows=0), tokenizer, 100)
    one, two = (tokenizer.convert_tokens_to_ids(f" {n}") for n in (1, 2))
    assert [one_.prompt_ids[0] for one_ in found.training] == [one] * 30 + [two] * 10


def test_parquet_and_folders_give_the_same_examples_as_jsonl(tmp_path, tokenizer):
    from datasets import Dataset

    rows = [{"prompt": f" {n}", "completion": f" {n + 1}"} for n in range(20)]
    (tmp_path / "folder").mkdir()
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    write(tmp_path / "folder" / "data.jsonl", rows)
    paths = [write(tmp_path / "rows.jsonl", rows), str(tmp_path / "rows.parquet"), str(tmp_path / "folder")]
    found = {load_examples(DataConfig([path]), tokenizer, 100).sha256 for path in paths}
    assert len(found) == 1


def test_examples_with_the_same_prompt_are_held_out_together_in_any_order():
    examples = [example([1, prompt], [token]) for prompt in range(20) for token in range(3)]
    training, held_out = hold_out(examples, 6)
    assert len(held_out) == 6 and len(training) == 54
    assert not {one.prompt_ids for one in training} & {one.prompt_ids for one in held_out}
    _, reversed_held_out = hold_out(examples[::-1], 6)
    assert set(reversed_held_out) == set(held_out)
    assert len(hold_out(examples, 1000)[1]) <= 6  # a tenth


def test_an_example_of_a_held_out_problem_is_refused():
    examples = Examples([example([1], [2]), example([1], [2], problem=("countdown", "4 8 16 -> 12"))], [], [])
    check_held_out(examples, {("countdown", "1 2 3 -> 6"), ("gsm8k", "4 8 16 -> 12")})
    with pytest.raises(
        ValueError, match="rows.jsonl:1: the problem 4 8 16 -> 12 of countdown is in the evaluation set"
    ):
        check_held_out(examples, {("countdown", "4 8 16 -> 12")})


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


def test_an_example_longer_than_a_batch_is_a_batch_of_its_own():
    plan = StepPlan([example([1], range(9)), example([1], range(2))], batch_tokens=5, seed=0)
    assert sorted(len(plan.step(step)) for step in range(plan.num_steps(1))) == [1, 1]


def test_weights_are_scaled_to_a_mean_of_one_over_the_tokens_that_carry_loss():
    batch = make_batch([example([1], [5, 6], weight=3.0), example([1], [7, 8, 9, 4], loss=[True, True, False, False])])
    # The weights are 3, 3, 1, 1: their mean is 2.
    assert batch.advantages.tolist() == [[1.5, 1.5, 0, 0], [0.5, 0.5, 0, 0]]
    assert batch.mask.sum() == 6 and batch.loss_mask.sum() == 4
    assert batch.group_ids.tolist() == [0, 0]


def test_a_batch_is_filled_up_for_several_ranks_with_rows_that_carry_no_loss():
    batch = make_batch([example([1], [5, 6]), example([2], [7]), example([3], [7])], ranks=2)
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
    small_model().save_pretrained(tmp_path / "model")
    return ModelConfig(name="small", path=str(tmp_path / "model"))


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
    metrics, _ = trained._backward(make_batch(EXAMPLES))
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
    losses = [trained.update(make_batch(EXAMPLES)).metrics["loss"] for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, base[name]) for name, p in trained.model.named_parameters() if name in base)

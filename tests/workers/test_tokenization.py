import shutil

import pytest

from conf.workers import ModelConfig, RolloutConfig
from envs.countdown.corpus import tiny_countdown
from grpo.types import Chat, Request, SamplingParams
from tests.builders import tokenizer_with_bos
from workers.models import fitting_problems, load_tokenizer
from workers.tokenization import encode
from workers.transformers_sampler import TransformersSampler

TINY = "envs/countdown/models/tiny"


def test_a_chat_is_rendered_by_the_template_with_its_last_turn_open():
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = "{% for turn in messages %} <answer>{{ turn['content'] }} </answer>{% endfor %}"
    chat = Chat(" 1", " 2", " 3\n<think>")
    text = tokenizer.decode(encode(tokenizer, chat))
    assert text == " <answer> 1 </answer> <answer> 2 </answer> <answer> 3\n<think>"


def test_a_plain_prompt_is_encoded_unchanged():
    tokenizer = load_tokenizer(TINY)
    assert tokenizer.decode(encode(tokenizer, "make 12 from 3 4\n<think>\n")) == "make 12 from 3 4\n<think>\n"


def test_a_chat_without_a_template_is_rejected_with_its_key():
    with pytest.raises(ValueError, match="model.prompt_style=chat"):
        encode(load_tokenizer(TINY), Chat("a", "b", "c"))


def test_a_chat_that_the_template_refuses_is_rejected_with_its_key():
    """The template of gemma-2b-it refuses turns of the system."""
    tokenizer = load_tokenizer(TINY)
    refusal = "{% if turn['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = "{% for turn in messages %}" + refusal + "{{ turn['content'] }}{% endfor %}"
    with pytest.raises(ValueError, match=r"prompt_style=chat: .* refuses the messages \(System role not supported\)"):
        encode(tokenizer, Chat("a", "b", "c"))


def test_a_plain_prompt_begins_with_the_bos_token_if_the_tokenizer_adds_one():
    tokenizer, prompt = tokenizer_with_bos(), "make 12 from 3 4\n<think>\n"
    assert encode(tokenizer, prompt) == tokenizer(prompt)["input_ids"] == [0, *encode(load_tokenizer(TINY), prompt)]
    assert encode(tokenizer, tokenizer.bos_token + prompt) == encode(tokenizer, prompt)


def test_a_chat_has_no_bos_token_but_that_of_its_template():
    tokenizer = tokenizer_with_bos()
    tokenizer.chat_template = "{{ bos_token }}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
    assert tokenizer.decode(encode(tokenizer, Chat(" 1", " 2", " 3"))) == "<|endoftext|> 1 2 3"


def test_a_sampler_reads_the_bos_token_and_the_longest_prompt_counts_it(tmp_path):
    shutil.copytree(TINY, tmp_path / "model")
    tokenizer_with_bos().save_pretrained(tmp_path / "model")
    model, prompt = ModelConfig("m", str(tmp_path / "model")), "make 12 from 3 4\n<think>\n"
    expected = [0, *encode(load_tokenizer(TINY), prompt)]
    requests = [Request(prompt, seed=0)]
    [(_, completion)] = TransformersSampler(model, RolloutConfig()).generate(requests, SamplingParams(0.0, 1))
    assert list(completion.prompt_ids) == expected
    assert fitting_problems(tiny_countdown(), model).count_tokens(prompt) == len(expected)

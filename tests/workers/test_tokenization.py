import pytest

from grpo.types import Chat
from workers.models import load_tokenizer
from workers.tokenization import encode

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

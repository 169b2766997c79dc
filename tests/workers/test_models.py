import pytest

from grpo.types import Chat
from workers.models import encode, load_tokenizer


def test_a_chat_goes_through_the_template_and_its_last_turn_stays_open():
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    tokenizer.chat_template = "{% for turn in messages %} <answer>{{ turn['content'] }} </answer>{% endfor %}"
    chat = Chat(" 1", " 2", " 3\n<think>")
    text = tokenizer.decode(encode(tokenizer, chat))
    assert text == " <answer> 1 </answer> <answer> 2 </answer> <answer> 3\n<think>"


def test_a_plain_prompt_is_encoded_as_it_is():
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    assert tokenizer.decode(encode(tokenizer, "make 12 from 3 4\n<think>\n")) == "make 12 from 3 4\n<think>\n"


def test_a_chat_without_a_template_is_refused_by_name():
    with pytest.raises(ValueError, match="model.prompt_style=chat"):
        encode(load_tokenizer("envs/countdown/models/tiny"), Chat("a", "b", "c"))

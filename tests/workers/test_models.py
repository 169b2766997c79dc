import pytest

from conf.workers import ModelConfig
from grpo.types import Chat
from workers.models import check_model, encode, load_tokenizer


def test_a_chat_is_rendered_by_the_template_with_its_last_turn_open():
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    tokenizer.chat_template = "{% for turn in messages %} <answer>{{ turn['content'] }} </answer>{% endfor %}"
    chat = Chat(" 1", " 2", " 3\n<think>")
    text = tokenizer.decode(encode(tokenizer, chat))
    assert text == " <answer> 1 </answer> <answer> 2 </answer> <answer> 3\n<think>"


def test_a_plain_prompt_is_encoded_unchanged():
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    assert tokenizer.decode(encode(tokenizer, "make 12 from 3 4\n<think>\n")) == "make 12 from 3 4\n<think>\n"


def test_a_chat_without_a_template_is_rejected_with_its_key():
    with pytest.raises(ValueError, match="model.prompt_style=chat"):
        encode(load_tokenizer("envs/countdown/models/tiny"), Chat("a", "b", "c"))


@pytest.mark.parametrize(("text", "problem"), [("{", "is not valid JSON"), ("{}", "names no model_type")])
def test_a_damaged_config_is_found_before_anything_starts(tmp_path, text, problem):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"config.json {problem}"):
        check_model(ModelConfig("m", str(tmp_path)))

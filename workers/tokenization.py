"""Prompts and conversations as text and as token ids, the same for generation, training and evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from grpo.types import Chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: "PreTrainedTokenizerBase", prompt: str | Chat) -> list[int]:
    """The token ids of a prompt; raises what `render` raises."""
    return tokenizer(render(tokenizer, prompt), add_special_tokens=False)["input_ids"]


def render(tokenizer: "PreTrainedTokenizerBase", prompt: str | Chat) -> str:
    """A prompt as text that includes its special tokens. A chat is formatted by the tokenizer's template; its last
    turn stays open.

    Raises:
        ValueError: the tokenizer has no chat template, or the template refuses the turns.
    """
    if isinstance(prompt, str):
        return prompt
    if tokenizer.chat_template is None:
        raise ValueError("model.prompt_style=chat requires a chat template, which this tokenizer lacks; choose base")
    turns = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": prompt.user},
        {"role": "assistant", "content": prompt.assistant},
    ]
    try:
        return format_messages(tokenizer, turns, continue_final_message=True)
    except ValueError as error:
        raise ValueError(f"model.prompt_style=chat: {error}; choose base, or another model") from error


def format_messages(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, str]], **options: bool
) -> str:
    """Messages as text, formatted by the tokenizer's chat template.

    Raises:
        ValueError: the template refuses the messages, for example one of the system.
    """
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, **options)
    except TemplateError as error:
        raise ValueError(f"the chat template of the model refuses the messages ({error})") from error

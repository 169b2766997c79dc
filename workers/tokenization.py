"""Prompts and conversations as text and as token ids, the same for generation, training and evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from grpo.types import Chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: "PreTrainedTokenizerBase", prompt: str | Chat) -> list[int]:
    """The token ids of a prompt; raises what `render` raises."""
    ids = tokenizer(render(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    return [*beginning(tokenizer, ids), *ids] if isinstance(prompt, str) else ids


def beginning(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> list[int]:
    """What precedes the ids of a plain text: the beginning-of-sequence token, if the tokenizer puts it before every
    text, as that of Llama 3 does, and the text does not begin with it already. A chat template writes its own."""
    bos = [tokenizer.bos_token_id]
    return bos if tokenizer("")["input_ids"][:1] == bos and list(ids[:1]) != bos else []


def render(tokenizer: "PreTrainedTokenizerBase", prompt: str | Chat) -> str:
    """A prompt as text. A chat is formatted by the tokenizer's template, which writes its special tokens; its last
    turn stays open. Only `encode` adds the token of `beginning`.

    Raises:
        ValueError: the tokenizer has no chat template, or the template refuses the turns.
    """
    if isinstance(prompt, str):
        return prompt
    if tokenizer.chat_template is None:
        raise ValueError("model.prompt_style=chat requires a chat template, which this tokenizer lacks; choose base")
    try:
        return format_messages(tokenizer, prompt.messages, continue_final_message=True)
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

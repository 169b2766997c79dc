"""Builds prompts for base models, chat models and the tiny models.

The base and chat prompts are those of TinyZero. Every prompt ends with an opening <think> tag, so a completion
starts with the thought.
"""

from grpo.types import Chat

STYLES = ("base", "chat", "tiny")

CONVERSATION = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer.\n"
)
SYSTEM = (
    "You are a helpful assistant. You first think about the reasoning process in the mind "
    "and then provide the user with the answer."
)
TAGS = (
    " Show your work in <think> </think> tags. And return the final answer in <answer> </answer> tags, "
    "for example <answer> {example} </answer>."
)
OPENING = "Let me solve this step by step.\n<think>"


def make_prompt(style: str, question: str, example: str, tiny: str) -> str | Chat:
    """Build the prompt for a question in one of STYLES.

    example  an example of the text between the answer tags
    tiny     the question in the vocabulary of the tiny model
    """
    if style == "tiny":
        return f"{tiny}\n<think>\n"
    asked = question + TAGS.format(example=example)
    if style == "chat":
        return Chat(SYSTEM, asked, OPENING)
    return f"{CONVERSATION}User: {asked}\nAssistant: {OPENING}"

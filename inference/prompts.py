"""How a problem's prompt is worded for a strategy. Prompts are those of envs/prompts.py."""

from grpo.types import Chat
from inference.engine import Codec

PROMPTS = ("cot", "direct")
TURN = "\nAssistant: "
DIRECT = " This time show no work: give the final answer alone, in <answer> </answer> tags."
REVISE = (
    "\nAn earlier attempt gave this answer, which may be wrong: {answer}\n"
    "Check it step by step. If it is wrong, find the right one; if it is right, give it again."
)
LONGEST_ANSWER = 200  # characters of an answer that are put back into a prompt
# The first that the vocabulary can spell is taken: the space after the tag mostly belongs to the next
# token, but a tiny vocabulary may have it in the tag's.
OPEN_ANSWER = ("</think> <answer>", "</think> <answer> ")


def cot_prompt(prompt: str | Chat) -> str | Chat:
    """Zero-shot chain of thought (arXiv 2205.11916): "Let me solve this step by step" is how the prompts of
    this project end, and what the models were trained on; so it stays as it is."""
    return prompt


def direct_prompt(prompt: str | Chat) -> str | Chat:
    """The control of arXiv 2205.11916: no thought. The answer is opened by forced tokens after it (`answer_opening`);
    a prompt without words, a tiny model's, needs nothing more."""
    return _with_words(prompt, DIRECT, "<think>") or prompt


def revision_prompt(prompt: str | Chat, answer: str) -> str | Chat:
    """The prompt, with an earlier answer and the wish to check it (self-refine, arXiv 2303.17651).

    Raises:
        ValueError: the prompt has no words to ask with.
    """
    worded = _with_words(prompt, REVISE.format(answer=_harmless(answer)))
    if worded is None:
        raise ValueError("env.prompt_style must be base or chat where answers are revised, got tiny")
    return worded


def answer_opening(codec: Codec) -> str:
    """The text that ends the thought and opens the answer.

    Raises:
        ValueError: the vocabulary can't spell it.
    """
    for text in OPEN_ANSWER:
        if can_spell(codec, text):
            return text
    raise ValueError(f"the model's vocabulary must be able to spell {OPEN_ANSWER[0]!r} where an answer is forced")


def can_spell(codec: Codec, text: str) -> bool:
    """A tiny vocabulary drops what it doesn't know without a word; white space may differ."""
    return codec.encode(text) != () and codec.decode(codec.encode(text)).split() == text.split()


def _with_words(prompt: str | Chat, words: str, opening: str | None = None) -> str | Chat | None:
    """`words` at the end of the user's turn, and another beginning of the assistant's; None where there are no
    turns."""
    if isinstance(prompt, Chat):
        return Chat(prompt.system, prompt.user + words, prompt.assistant if opening is None else opening)
    before, turn, begun = prompt.rpartition(TURN)
    return f"{before}{words}{turn}{begun if opening is None else opening}" if turn else None


def _harmless(answer: str) -> str:
    """One short line that opens no tag and spells no special token: the answer is the model's own text."""
    return " ".join(answer.split())[:LONGEST_ANSWER].replace("<", "< ")

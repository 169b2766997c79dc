"""Parses the tags of a completion. The prompt opens <think>, so a completion starts inside the thought.

Only linear string searches are used, because a hostile completion may be a megabyte of tags.
"""

from dataclasses import dataclass

TAGS = ("</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Parts:
    """The parts of a completion.

    thought  the text before </think>; the whole text if the tag is missing
    answer   the text inside the last complete answer tag, stripped; None if there is no such tag
    ordered  </think>, <answer> and </answer> occur once each, in this order, and <think> does not occur
    """

    thought: str
    answer: str | None
    ordered: bool


def read_tags(text: str) -> Parts:
    """Split a completion into its parts."""
    thought = text.partition("</think>")[0]
    once = text.count("<think>") == 0 and all(text.count(tag) == 1 for tag in TAGS)
    positions = [text.find(tag) for tag in TAGS]
    span = answer_span(text)
    answer = None if span is None else text[slice(*span)].strip()
    return Parts(thought, answer, ordered=once and positions == sorted(positions))


def answer_span(text: str) -> tuple[int, int] | None:
    """The start and end of the text inside the last complete answer tag; None if there is no such tag."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    if start == -1:
        return None
    start += len("<answer>")
    return start, text.find("</answer>", start)

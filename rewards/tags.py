"""Reading the tags of a completion. The prompt has opened <think>, so a completion starts inside.

A hostile completion is a megabyte of tags, so the text is only searched, never matched by patterns.
"""

from dataclasses import dataclass

TAGS = ("</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Parts:
    """`thought` is what stands before </think>, all of the text when it never comes; `answer` the
    text of the last complete answer tag, None when there is none; `ordered`: </think>, <answer> and
    </answer> occur once each, in this order, and <think> never again."""

    thought: str
    answer: str | None
    ordered: bool


def read_tags(text: str) -> Parts:
    thought = text.partition("</think>")[0]
    once = text.count("<think>") == 0 and all(text.count(tag) == 1 for tag in TAGS)
    places = [text.find(tag) for tag in TAGS]
    return Parts(thought, _last_answer(text), ordered=once and places == sorted(places))


def _last_answer(text: str) -> str | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    if start == -1:
        return None
    start += len("<answer>")
    return text[start : text.find("</answer>", start)].strip()

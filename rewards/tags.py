"""Reading the tags of a completion. The prompt has opened <think>, so a completion starts inside."""

import re
from dataclasses import dataclass

ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass(frozen=True)
class Parts:
    """`answer` is the text of the last complete answer tag, None when there is none; `ordered`:
    </think>, <answer> and </answer> occur once each, in this order, and <think> never again."""

    answer: str | None
    ordered: bool


def read_tags(text: str) -> Parts:
    matches = ANSWER.findall(text)
    answer = matches[-1].strip() if matches else None
    tags = re.findall(r"</?(?:think|answer)>", text)
    return Parts(answer, ordered=tags == ["</think>", "<answer>", "</answer>"])

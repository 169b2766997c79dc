"""The data card of sampled traces: README.md in the format of the Hugging Face Hub, which `datasets` reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

COLUMNS = {
    "prompt": "the prompt, or the messages of a chat prompt; the completion continues it",
    "completion": "the thought, `</think>` and the answer, without the end token",
    "key": "identifies the problem; equal problems have equal keys",
    "env": "the task",
    "problem": "the fields that the checker reads",
    "correct": "whether the checker accepted the answer",
    "truncated": "whether the completion was cut at the token limit, so that no end token follows it",
    "tokens": "length of the completion for the model that sampled it, the end token included",
    "difficulty": "share of the problem's samples that are correct",
    "sample": "index of the sample among those of the problem",
    "attempts": "number of attempts in a journey; 1 otherwise",
}


def data_card(
    license: str, settings: Mapping[str, Any], counts: Sequence[tuple[str, int, int]], data_sha256: str
) -> str:
    """Return the text of the card. It depends on its arguments alone, so that equal data has equal cards.

    settings  what determines the data: the model with its checksum, the task, the strategy, seeds, and thresholds
    counts    (filter or step, traces in, traces out)
    """
    head = {
        "license": license,
        "task_categories": ["text-generation"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data.jsonl"}]}],
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "# Traces sampled from a model",
        "",
        "Completions of training problems, written by AhaZero's `sample_traces.py`. No problem is one of the held-out",
        "problems of its task. `data.jsonl` has the rows; `rejected.jsonl` has the others, each with the filter that",
        "rejected it.",
        "",
        "| step | in | out |",
        "|---|---|---|",
        *(f"| {name} | {entering} | {leaving} |" for name, entering, leaving in counts),
        "",
        "| column | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in COLUMNS.items()),
        "",
        f"SHA-256 of `data.jsonl`: `{data_sha256}`",
        "",
        "The settings that determine the rows:",
        "",
        "```yaml",
        yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"

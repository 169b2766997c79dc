"""The filters of traces. A filter is a named pure function; `apply_filters` counts what each one lets through.

The filters of a single trace return whether it is kept. The filters of a set, which compare traces with each other,
return the indexes of those that are kept.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from conf.traces import ThresholdConfig
from pipelines.traces import Trace
from rewards import components
from rewards.components import Scored
from rewards.tags import read_tags
from rewards.verdict import CORRECT

CODE_FENCE = "```"
SYMBOLS = ("So", "Sk", "Cc", "Cf", "Cn", "Co", "Cs")  # Unicode categories


def correct(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """The checker accepted the answer."""
    return trace.correct


def format(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """</think>, <answer> and </answer> occur once each, in this order, without <think>, which ends the prompt, and
    thought and answer are not empty."""
    return components.format(_scored(trace, thresholds)) == 1.0


def not_truncated(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """The model ended the completion itself, before the token limit."""
    return not trace.truncated


def language(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """At least `min_language_share` of the thought's words are in the target language. A thought without words, as
    of numbers and signs alone, is in every language."""
    scored = _scored(trace, thresholds)
    has_words = any(map(str.isalpha, scored.parts.thought))
    return not has_words or components.language(scored) >= thresholds.min_language_share


def not_repetitive(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """At most `max_repetition` of the thought's 4-grams of words repeat an earlier one."""
    return -components.repetition(_scored(trace, thresholds)) <= thresholds.max_repetition


def readable(trace: Trace, thresholds: ThresholdConfig) -> bool:
    """The thought is not chaotic, after the filter of DeepSeek-R1 (arXiv 2501.12948, section 2.3.3), which drops
    thoughts with mixed languages, long paragraphs and code blocks:

    - at most `max_other_scripts` of its letters are outside the script of most of its letters;
    - no line is longer than `max_line` characters;
    - no character other than a space occurs more than `max_run` times in a row;
    - at most `max_symbols` of its characters are symbols: emoji, box drawings, replacement, private-use and control
      characters, but no punctuation, no mathematical or currency signs, and nothing in ASCII that can be printed;
    - it contains no fenced code block.
    """
    thought = read_tags(trace.completion).thought
    return (
        other_script_share(thought) <= thresholds.max_other_scripts
        and max(map(len, thought.split("\n"))) <= thresholds.max_line
        and longest_run(thought) <= thresholds.max_run
        and symbol_share(thought) <= thresholds.max_symbols
        and CODE_FENCE not in thought
    )


def no_duplicates(traces: Sequence[Trace], thresholds: ThresholdConfig) -> list[int]:
    """The first of the traces of a problem whose completions are equal up to whitespace."""
    first: dict[tuple[str, str], int] = {}
    for index, trace in enumerate(traces):
        first.setdefault((trace.problem.key, " ".join(trace.completion.split())), index)
    return list(first.values())


def at_most_k(traces: Sequence[Trace], thresholds: ThresholdConfig) -> list[int]:
    """The first `k` traces of each problem."""
    seen: Counter[str] = Counter()
    kept = []
    for index, trace in enumerate(traces):
        seen[trace.problem.key] += 1
        if seen[trace.problem.key] <= thresholds.k:
            kept.append(index)
    return kept


def balanced(traces: Sequence[Trace], thresholds: ThresholdConfig) -> list[int]:
    """The first traces of each difficulty bin, so that the bins are as equal as possible.

    Bin b of `bins` holds the problems whose share of correct samples is in [b / bins, (b + 1) / bins); the last bin
    includes 1. The largest bins are cut until `max_rows` traces are left, or, if it is null, to the size of the
    smallest bin that is not empty.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, trace in enumerate(traces):
        members[min(int(trace.difficulty * thresholds.bins), thresholds.bins - 1)].append(index)
    smallest = min(map(len, members.values()), default=0)
    limit = thresholds.max_rows if thresholds.max_rows is not None else smallest * len(members)
    # Round r takes the r-th trace of each bin, so the bins that are not used up stay within one trace of each other.
    rounds = sorted((r, b, index) for b, bin in members.items() for r, index in enumerate(bin))
    return sorted(index for _, _, index in rounds[:limit])


def first_rows(traces: Sequence[Trace], thresholds: ThresholdConfig) -> list[int]:
    """The first `max_rows` traces."""
    return list(range(len(traces)))[: thresholds.max_rows]


OF_A_TRACE: Mapping[str, Callable[[Trace, ThresholdConfig], bool]] = {
    "correct": correct,
    "format": format,
    "not_truncated": not_truncated,
    "language": language,
    "readable": readable,
    "not_repetitive": not_repetitive,
}
OF_A_SET: Mapping[str, Callable[[Sequence[Trace], ThresholdConfig], list[int]]] = {
    "no_duplicates": no_duplicates,
    "at_most_k": at_most_k,
    "balanced": balanced,
    "first_rows": first_rows,
}


@dataclass(frozen=True)
class Filtered:
    """The result of a list of filters.

    rejected  each rejected trace with the name of the filter that rejected it
    counts    (filter, traces in, traces out), in the order of the filters
    """

    kept: list[Trace]
    rejected: list[tuple[str, Trace]]
    counts: list[tuple[str, int, int]]


def apply_filters(traces: Sequence[Trace], names: Sequence[str], thresholds: ThresholdConfig) -> Filtered:
    """Apply the named filters one after the other; the traces that are kept stay in order."""
    kept = list(traces)
    rejected: list[tuple[str, Trace]] = []
    counts: list[tuple[str, int, int]] = []
    for name in names:
        if name in OF_A_TRACE:
            passing = {index for index, trace in enumerate(kept) if OF_A_TRACE[name](trace, thresholds)}
        else:
            passing = set(OF_A_SET[name](kept, thresholds))
        counts.append((name, len(kept), len(passing)))
        rejected += [(name, trace) for index, trace in enumerate(kept) if index not in passing]
        kept = [trace for index, trace in enumerate(kept) if index in passing]
    return Filtered(kept, rejected, counts)


def other_script_share(text: str) -> float:
    """Return the share of the letters that are outside the script of most letters, 0..1; 0 without letters."""
    scripts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if unicodedata.category(character).startswith("L"):
            scripts[unicodedata.name(character, "").partition(" ")[0]] += count
    return 1 - max(scripts.values()) / scripts.total() if scripts else 0.0


def longest_run(text: str) -> int:
    """Return the length of the longest run of one character other than a space."""
    return max((len(run[0]) for run in re.finditer(r"([^ ])\1*", text, re.DOTALL)), default=0)


def symbol_share(text: str) -> float:
    """Return the share of the characters that are symbols, 0..1 (see `readable`)."""
    symbols = sum(
        count
        for character, count in Counter(text).items()
        if unicodedata.category(character) in SYMBOLS and not (character.isascii() and character.isprintable())
        if not character.isspace()
    )
    return symbols / len(text) if text else 0.0


def _scored(trace: Trace, thresholds: ThresholdConfig) -> Scored:
    """The trace as the reward components read it; the filters that use them read no verdict."""
    parts = read_tags(trace.completion)
    return Scored(trace.completion, parts, CORRECT, trace.tokens, thresholds.language, 1, 1)

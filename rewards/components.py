"""The rule-based reward components.

Each public function of this module is a component: it maps a `Scored` completion to a number. The name of the
function is its key in `reward.weights`.
"""

from dataclasses import dataclass

from rewards.scripts import share_in
from rewards.tags import Parts
from rewards.verdict import Verdict

# Scoring must take less than 50 ms, so only this many characters at the end of a thought are read.
MAX_CHARACTERS = 50_000
NGRAM = 4


@dataclass(frozen=True)
class Scored:
    """The input of a component.

    text             the completion
    parts            its thought and its answer
    verdict          the task's verdict on the answer
    tokens           length of the completion in tokens; None if unknown
    language, max_tokens, overlong_tokens
                     see `RewardConfig`
    """

    text: str
    parts: Parts
    verdict: Verdict
    tokens: int | None
    language: str
    max_tokens: int
    overlong_tokens: int


def correct(scored: Scored) -> float:
    """1 for an exactly correct answer."""
    return float(scored.verdict.correct)


def answered(scored: Scored) -> float:
    """1 for a well-formed answer, whether correct or not; 0 for an empty one."""
    return float(scored.verdict.well_formed)


def format(scored: Scored) -> float:
    """1 if </think>, <answer> and </answer> occur once each, in this order, without <think>, which ends the prompt, and
    thought and answer are not empty."""
    return float(scored.parts.ordered and bool(scored.parts.answer) and bool(scored.parts.thought.strip()))


def language(scored: Scored) -> float:
    """The share of the thought's words in the target language, 0..1; 0 if there are no words.

    The language consistency reward of DeepSeek-R1 (arXiv 2501.12948, section 2.3.2). Words are classified by their
    script, so languages with the same script are not distinguished. Numbers and signs do not count as words.
    """
    return share_in(scored.language, scored.parts.thought[-MAX_CHARACTERS:])


def length(scored: Scored) -> float:
    """0 up to `max_tokens - overlong_tokens` tokens, then decreasing linearly to -1 at `max_tokens`.

    The soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13).

    Raises:
        ValueError: the number of tokens is unknown.
    """
    if scored.tokens is None:
        raise ValueError("the length component needs the number of tokens")
    free = scored.max_tokens - scored.overlong_tokens
    return max(-1.0, min(0.0, (free - scored.tokens) / scored.overlong_tokens))


def repetition(scored: Scored) -> float:
    """The negative share of the thought's n-grams (NGRAM words) that repeat an earlier one, -1..0."""
    words = scored.parts.thought[-MAX_CHARACTERS:].split()
    runs = list(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return len(set(runs)) / len(runs) - 1.0 if runs else 0.0

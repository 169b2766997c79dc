"""The components that a reward is mixed from. Each public function here is one: it takes what is known
of a completion and returns a score; its name is its name in `reward.weights`."""

import re
import unicodedata
from dataclasses import dataclass

from rewards.tags import Parts
from rewards.verdict import Verdict

# A grader has 50 ms: of a longer thought, this many characters from its end are read.
MAX_CHARACTERS = 50_000
NGRAM = 4
# A run of letters, or one Chinese character.
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\d_\u4e00-\u9fff]+")
SCRIPTS = {"en": "LATIN", "zh": "CJK", "ru": "CYRILLIC", "ar": "ARABIC", "el": "GREEK", "hi": "DEVANAGARI"}


@dataclass(frozen=True)
class Scored:
    """What a component may look at. `tokens` is None where the length in tokens is not known."""

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
    """1 for an answer that could be read, right or wrong; an empty answer is none."""
    return float(scored.verdict.well_formed)


def format(scored: Scored) -> float:
    """1 for </think>, <answer>, </answer>, once each and in this order, around something."""
    return float(scored.parts.ordered and bool(scored.parts.answer) and bool(scored.parts.thought.strip()))


def language(scored: Scored) -> float:
    """The share of the thought's words that are of the target language, 0..1; 0 for no words.

    DeepSeek-R1 (arXiv 2501.12948, 2.3.2). A word is told by its script, so two languages that share
    one are not told apart. Numbers and signs are no words.
    """
    words = WORD.findall(scored.parts.thought[-MAX_CHARACTERS:])
    wanted = sum(_script(word[0]) == SCRIPTS[scored.language] for word in words)
    return wanted / len(words) if words else 0.0


def length(scored: Scored) -> float:
    """0 up to `max_tokens - overlong_tokens`, then falling in a line to -1 at `max_tokens`.

    The soft overlong punishment of DAPO (arXiv 2503.14476, eq. 13).
    """
    if scored.tokens is None:
        raise ValueError("the length component needs the number of tokens")
    free = scored.max_tokens - scored.overlong_tokens
    return max(-1.0, min(0.0, (free - scored.tokens) / scored.overlong_tokens))


def repetition(scored: Scored) -> float:
    """Minus the share of the thought's runs of NGRAM words that have occurred before in it, -1..0."""
    words = scored.parts.thought[-MAX_CHARACTERS:].split()
    runs = list(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return len(set(runs)) / len(runs) - 1.0 if runs else 0.0


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]

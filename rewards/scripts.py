"""The scripts in which a text is written, by the Unicode names of its letters.

Languages with the same script are not distinguished. Numbers and signs do not count as words.
"""

import re
import unicodedata
from collections import Counter

# A run of letters, or one Chinese character.
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\d_\u4e00-\u9fff]+")
# Language -> its script, the first word of the Unicode names of its letters.
SCRIPTS = {"en": "LATIN", "zh": "CJK", "ru": "CYRILLIC", "ar": "ARABIC", "el": "GREEK", "hi": "DEVANAGARI"}


def count_words(text: str) -> Counter[str]:
    """The number of words of a text in each script."""
    return Counter(_script(word) for word in WORD.findall(text))


def share_in(language: str, text: str) -> float:
    """The share of a text's words that are in the script of a language, 0..1; 0 if there are no words."""
    words = count_words(text)
    return words[SCRIPTS[language]] / words.total() if words else 0.0


def mixes_scripts(text: str) -> bool:
    """Whether a text has words in at least two of SCRIPTS.

    A single letter that is not a Chinese character counts as a symbol, such as x or π, not as a word.
    """
    if text.isascii():
        return False
    found = {_script(word) for word in WORD.findall(text) if len(word) > 1 or _script(word) == "CJK"}
    return len(found & set(SCRIPTS.values())) > 1


def _script(word: str) -> str:
    return unicodedata.name(word[0], "").partition(" ")[0]

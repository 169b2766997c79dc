"""Text of a model or a data file as a terminal may show it."""

import re

# Control characters other than tab and line feed, the marks that change the direction of text, and lone surrogates.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters written out, as in `\\x1b`. A terminal would execute the escape codes that
    they begin: they move the cursor, set the title, or write to the clipboard."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

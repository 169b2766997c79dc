"""Finds the mathematics in an answer: without markup, a sentence around it, and units after it."""

import re
from itertools import accumulate

from rewards.number_tokens import DASHES, EMPHASIS, Kind, NumberError, tokens_of, unmarked
from rewards.number_words import BEFORE_SIGN, UNITS, refusal

BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
PIECE = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
TEXT_COMMAND = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox)\s*"
TEXT = re.compile(TEXT_COMMAND + r"\{([^{}]*)\}")
SPACES = re.compile(r"(?<!\\)\\[,;:! ]|\\(?:quad|qquad)(?![A-Za-z])|~|\s+")
ROW_BREAK = re.compile(r"\s*\\\\\s*(?:\[[0-9.]+[a-z]{2}\]\s*)?")  # of a matrix, perhaps with its height: \\[2pt]
SEPARATOR = r"(?:, | , ?)"
SEPARATED = re.compile(rf"(?<=[0-9]){SEPARATOR}(?=[0-9]{{3}}(?![0-9]))")
DEPTH = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
SIZES = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])")
NAMED = re.compile(r"[\s$]*((?:[A-Za-z](?:\([a-z]\))?|[A-Z][a-z]+)\s*=)\s*")  # before a box: `f(x) =`, `Area =`
EXPONENT = r"(?:\s*\^\s*\{?[0-9]\}?|[²³])?"
UNIT_TEXT = re.compile(rf"(?<=\S)(?:\\?\s)*\\(?:text|mathrm|mbox)\s*\{{([^{{}}]*)\}}{EXPONENT}\s*$")
UNIT_WORD = re.compile(rf"(?<=[0-9}})a-z])\s+([A-Za-z]{{2,}}){EXPONENT}\s*$")


def normalized(text: str) -> str:
    """The text without what carries no meaning: dollar signs, emphasis, spacing commands, a full stop at the end."""
    text = EMPHASIS.sub(lambda found: f" {found[2] or found[4]} ", text.strip().strip("`").strip())
    inner = _boxed(text)
    if inner is not None and (inner[1] + inner[2]).strip(" $.") == "":
        text = inner[0]
    text = ROW_BREAK.sub(r"\\\\", text)
    text = re.sub(r"\\?\$|(?<!\\)\\[()\[\]]|`", " ", text)
    text = SIZES.sub("", re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text))
    text = text.translate(DASHES).replace("π", r"\pi ").replace("{,}", ",").replace(r",\!", ",")
    text = TEXT.sub(r" \1 ", text)
    text = re.sub(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))", "", text)  # 10\,000
    text = re.sub(r"(?<!\.)[.。]$", "", SPACES.sub(" ", text).strip()).strip()
    text = re.sub(r"\s*([-+*/=<>,(){}\[\]^_])\s*", r"\1", _separated(text))
    return re.sub(r"(\\[A-Za-z]+)\s+(?![A-Za-z])|\s+(?=\\[A-Za-z])", r"\1", text)


def _separated(text: str) -> str:
    """The text with semicolons between the numbers of a list, if `12, 144` might be read as 12144 without its space."""
    parts = re.split(r"([(){}\[\]])", text)
    depths = accumulate(DEPTH.get(part, 0) for part in parts)
    outside = [index for index, depth in enumerate(depths) if depth <= 0]
    if any(SEPARATED.search(parts[index]) for index in outside):
        for index in outside:
            parts[index] = re.sub(SEPARATOR, ";", parts[index])
    return "".join(parts)


def mathematics(text: str) -> str | None:
    """The mathematics in a text, normalized; None if the words around it may change its meaning."""
    text = EMPHASIS.sub(lambda found: f" {found[2] or found[4]} ", re.sub(r"\\\$|`", " ", text.strip()))
    boxed = _boxed(text)
    if boxed is not None:
        inner, before, after = boxed
        name = NAMED.fullmatch(before)
        if name is not None and "=" not in inner and _harmless_lead(before):
            inner, before = name[1] + inner, ""
        return normalized(inner) if _harmless(f"{before} {after}") else None
    if len(re.findall(r"(?<!\\)\$", text)) % 2:
        text = re.sub(r"(?<!\\)\$", "", text)
    pieces = [next(group for group in match if group) for match in PIECE.findall(text)]
    if pieces:
        outside = PIECE.sub(" ", text)
        listed = re.sub(r"\b(?:and|or)\b|,", " ", outside) if len(pieces) > 1 else outside
        return normalized(", ".join(_without_units(piece) for piece in pieces)) if _harmless(listed) else None
    return normalized(_without_units(_without_lead(re.sub(r"(?<!\.)[.。]\s*$", "", text))))


def _boxed(text: str) -> tuple[str, str, str] | None:
    """The content of the only \\boxed{} and the texts before and after it; None if there isn't exactly one."""
    starts = list(BOXED.finditer(text))
    if len(starts) != 1:
        return None
    depth = 0
    for position in range(starts[0].end() - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[starts[0].end() : position], text[: starts[0].start()], text[position + 1 :]
    return None


def _harmless(text: str) -> bool:
    """Whether the text consists of words and units that change no value, such as `The answer is` and `cm^2`."""
    try:
        tokens = tokens_of(unmarked(text.replace("$", " ")))
    except NumberError:
        return False
    unread = (Kind.NUMBER, Kind.SIGN, Kind.SLASH)
    return not any(token.kind in unread or (token.kind is Kind.WORD and refusal(token.text)) for token in tokens)


def _without_lead(text: str) -> str:
    """The text without a sentence in front of it: `The answer is 5`, `Answer: 5`."""
    end = 0
    for match in re.finditer(r"[A-Za-z'’]+(?::|\b)", text):
        words = text[: match.end()]
        if re.search(r"[^A-Za-z'’,:\s]", words):
            break
        if match[0].endswith(":") or match[0].lower() in BEFORE_SIGN - {"of", "to"}:
            end = match.end()
    lead = text[:end].replace(":", " ")
    return text[end:].strip() if end and text[end:].strip() and _harmless_lead(lead) else text


def _harmless_lead(lead: str) -> bool:
    return not any(refusal(word) for word in re.findall(r"[A-Za-z'’]+", lead) if len(word) > 1)


def _without_units(text: str) -> str:
    """The text without the unit after its mathematics: `5\\pi\\text{ cm}^2`, `2\\sqrt{3} units`."""
    while True:
        match = UNIT_TEXT.search(text)
        if match is not None and re.search(r"[0-9]|\\(?:pi|sqrt|frac)", text[: match.start()]) and _harmless(match[1]):
            text = text[: match.start()]
            continue
        match = UNIT_WORD.search(text)
        long_word = match is not None and (len(match[1]) > 2 or match[1].lower() in UNITS)
        if match is None or not long_word or refusal(match[1]) or not re.search("[0-9]|pi", text[: match.start()]):
            return text
        text = text[: match.start()]

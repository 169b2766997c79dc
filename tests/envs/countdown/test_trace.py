"""The attempts of a countdown trace."""

import random
import re
from collections import Counter

import pytest

from envs.countdown.behaviors import read_countdown_behaviors
from envs.countdown.corpus import tiny_countdown, traces
from envs.countdown.trace import VERDICT_WORDS, read_trace
from envs.equations import apply, end_of_thought

EQUATION = re.compile(r"(\d{1,9}) ?([-+*/]) ?(\d{1,9}) ?= ?(\d{1,9})")
VERDICT = re.compile(r"\b(yes|low|high)\b")


def attempts_of(text, numbers, target):
    return read_trace(text[: end_of_thought(text)], numbers, target).attempts


def test_the_attempts_of_a_trace_by_hand():
    lines = [" 16 - 8 = 8, 8 + 4 = 12 yes", " 16 - 8 = 9, 9 + 4 = 13 high", " 16 + 7 = 23, 23 - 8 = 15 low", "no sums"]
    first, second, third = attempts_of("\n".join(lines) + "\n</think> 1 + 1 = 2", [16, 8, 4], 12)
    assert first.hits(12) and first.last_verdict == "yes"
    assert second.copied and not second.arithmetic and not second.hits(13)
    assert not third.copied and third.arithmetic and third.value == 15


def test_an_attempt_that_omits_a_number_is_not_copied():
    (attempt,) = attempts_of(" 16 - 8 = 8 low\n", [16, 8, 4], 12)
    assert not attempt.copied


@pytest.mark.parametrize(
    ("text", "tries"),
    [
        (" 16 - 8 = 8, 8 + 4 = 12 yes\n", 1),
        (" 16 + 8 = 24, 24 + 4 = 28 high\n 16 - 8 = 8, 8 + 4 = 12 yes\n", 2),
        (" 16 + 8 = 24, 24 + 4 = 28\n 16 + 8 = 24, 24 + 4 = 28 high\n 8 * 4 = 32, 32 - 16 = 16 high\n", 3),
        ("First 16 - 8 = 8. Then 8 + 4 = 12. That works.", 1),
        ("(16 - 8) * 4 = 32, too high. Instead, (16 - 8) + 4 = 12.", 2),
        ("16, 8 and 4 are hard.", 0),
    ],
)
def test_tries_by_hand(text, tries):
    assert read_countdown_behaviors(text, [16, 8, 4], 12).tries == tries


def in_english(text):
    for verdict, word in VERDICT_WORDS["zh"].items():
        text = text.replace(word, verdict)
    return text


def test_verdicts_are_read_in_english_and_in_chinese():
    env = tiny_countdown()
    rows = list(traces(1000, seed=2, languages=("en", "zh")))
    for index, row in enumerate(rows):
        fields, text = env.problem(2, "train", index).fields, row["completion"]
        read, expected = (attempts_of(t, fields["numbers"], fields["target"]) for t in (text, in_english(text)))
        assert [a.last_verdict for a in read] == [a.last_verdict for a in expected], text
        assert [a.steps for a in read] == [a.steps for a in expected], text
        words = [text[verdict.start : verdict.end] for attempt in read for verdict in attempt.verdicts]
        assert words == re.findall("low|high|yes|低|高|对", text), text
        shown = [read_countdown_behaviors(t, fields["numbers"], fields["target"]) for t in (text, in_english(text))]
        assert shown[0] == shown[1], text
    assert sum(row["completion"].isascii() for row in rows) < 500


def line_by_line(text, numbers):
    """The same for the tiny model's language alone: every line with an equation is an attempt. Returns (copied,
    arithmetic, value, verdict) of each."""
    for line in text.split("</think>", maxsplit=1)[0].splitlines():
        equations = [(int(a), sign, int(b), int(c)) for a, sign, b, c in EQUATION.findall(line)]
        if not equations:
            continue
        pool, copied = Counter(numbers), True
        for left, _, right, value in equations:
            for number in (left, right):
                copied &= pool[number] > 0
                pool[number] -= 1
            pool[value] += 1
        verdict = VERDICT.search(line)
        arithmetic = all(apply(left, sign, right) == value for left, sign, right, value in equations)
        yield copied and pool.total() == 1, arithmetic, equations[-1][3], verdict[1] if verdict else None


def replace_random(pattern, replacements, text, rng):
    """Replace one random match of `pattern` before </think>."""
    found = rng.choice(list(re.finditer(pattern, text.split("</think>")[0])))
    return text[: found.start()] + rng.choice(replacements) + text[found.end() :]


MUTATIONS = {
    "none": lambda text, rng: text,
    "number": lambda text, rng: replace_random(r"\d+", [str(n) for n in range(200)], text, rng),
    "sign": lambda text, rng: replace_random(r" [-+*] ", [" + ", " - ", " * "], text, rng),
    "verdict": lambda text, rng: replace_random(r" (low|high|yes)", ["", " low", " high", " yes"], text, rng),
    "truncation": lambda text, rng: text[: rng.randrange(len(text))],
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_line_of_the_tiny_model_is_an_attempt(mutation):
    env, rng = tiny_countdown(), random.Random(0)
    for index, row in enumerate(traces(2000, seed=1)):
        fields = env.problem(1, "train", index).fields
        text = MUTATIONS[mutation](row["completion"], rng)
        found = [
            (attempt.copied, attempt.arithmetic, attempt.value, attempt.last_verdict)
            for attempt in attempts_of(text, fields["numbers"], fields["target"])
        ]
        assert found == list(line_by_line(text, fields["numbers"])), text

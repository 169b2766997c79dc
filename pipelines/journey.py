"""Journey learning (arXiv 2410.18982): long thoughts built from a tree of the model's own attempts at a problem.

The attempts of a problem form a tree: attempts that begin with the same steps share a path from the root, and the end
of an attempt is right or wrong. A journey walks this tree depth first. After each wrong attempt the thought says why it
is wrong, as the checker explains it, and goes back; it ends with the right attempt, whose branch is visited last at
every fork, and its answer. With the attempts 1-2-3, 1-4 and 5 (wrong) and 1-2-6 (right), where numbers are steps, the
order is 5, 1-4, 1-2-3, 1-2-6.

Thoughts are written in one of two languages:

- text: a step is a sentence or a line. Shared steps are written once, and the thought returns to the last of them in
  words: "But 9 is not 24; too small. Let me go back to "2 + 4 = 6" and try something else."
- the trace language of the tiny countdown models: a step is an equation, and an attempt a line that repeats the shared
  steps, because the language has no words for going back. The verdict, low or high, says why the attempt is wrong:
  ` 8 * 4 = 32, 32 - 16 = 16 high`. Attempts with a false equation or wrong numbers cannot be explained in it and are
  not used.

Unlike in the paper, the tree consists of complete attempts that were sampled independently, and no language model
rewrites the thought.
"""

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from conf.traces import JourneyConfig
from envs.countdown.trace import read_trace
from grpo.types import Problem
from inference.results import CandidateRow
from rewards.tags import read_tags

THINK_END = "</think>"
# A sentence or a line, with the whitespace before it.
STEP = re.compile(r"\s*\S.*?(?:[.!?](?=\s)|(?=\n)|\Z)")
WRONG_VALUE = re.compile(r"(?:equals|is) (.+), not (.+)", re.DOTALL)  # rewards/numbers.py, envs/countdown/checker.py
MAX_QUOTED = 60  # characters of an answer or of a step that are repeated in words
CLAIMS = ("That would give {answer}.", "So the answer would be {answer}.", "This way I get {answer}.")
EXPLANATIONS = ("But {reason}.", "Wait, {reason}.", "Hmm, {reason}.", "Checking this, {reason}.")
STARTS_OVER = (
    "Let me go back and try something else.",
    "Let me start over with a different approach.",
    "Let me try a different way from the start.",
)
GOES_BACK = (
    'Let me go back to "{step}" and try something else.',
    'Let me go back to "{step}" and continue in a different way.',
    'Up to "{step}" this may be fine, so let me try another way from there.',
)


@dataclass(frozen=True)
class JourneyAttempt:
    """An attempt at a problem.

    steps    of the thought; in text, with the whitespace before each
    reason   why the attempt is wrong
    answer   the answer of a wrong attempt
    ending   what follows the steps of a right attempt: the end of the thought and the answer; "" if it is wrong
    sample   index of the sample that the attempt is from
    """

    steps: tuple[str, ...]
    reason: str
    answer: str
    ending: str
    sample: int

    @property
    def right(self) -> bool:
        return self.ending != ""

    @property
    def path(self) -> tuple[str, ...]:
        """The steps as they are compared: without differences in whitespace."""
        return tuple(" ".join(step.split()) for step in self.steps)


@dataclass(frozen=True)
class Journey:
    """A completion that walks through `attempts`, the last of which is right."""

    completion: str
    attempts: tuple[JourneyAttempt, ...]


def read_attempts(problem: Problem, candidates: Sequence[CandidateRow], tiny: bool) -> list[JourneyAttempt]:
    """Return the different attempts in the samples of a problem, in the order of their first occurrence.

    tiny  the samples are written in the trace language of the tiny countdown models
    """
    unique: dict[tuple[str, ...], JourneyAttempt] = {}
    for sample, candidate in enumerate(candidates):
        if not read_tags(candidate["text"]).ordered or candidate["error"] is not None:
            continue
        for attempt in (_tiny_attempts if tiny else _text_attempts)(problem, candidate, sample):
            known = unique.get(attempt.path)
            if known is None or (attempt.right and not known.right):  # the same thought may end with two answers
                unique[attempt.path] = attempt
    return list(unique.values())


def journey(
    problem: Problem,
    attempts: Sequence[JourneyAttempt],
    settings: JourneyConfig,
    count_tokens: Callable[[str], int],
    tiny: bool,
) -> Journey | None:
    """Build a long thought from the first right attempt and the first wrong ones.

    The number of wrong attempts is drawn between `min_wrong` and `max_wrong`, so that it does not predict when the
    right one comes, and lowered if there are fewer or if the completion is longer than `max_tokens`. The draw and the
    phrases depend on the problem's key alone.

    Returns: None if no attempt is right, or with fewer than `min_wrong` wrong attempts.
    """
    rng = random.Random(f"journey/{problem.key}")
    right = next((attempt for attempt in attempts if attempt.right), None)
    if right is None:
        return None
    wrong = [attempt for attempt in attempts if not attempt.right]
    drawn = rng.randint(settings.min_wrong, settings.max_wrong)
    for count in range(min(drawn, len(wrong)), settings.min_wrong - 1, -1):
        walk = tuple(depth_first([*wrong[:count], right]))
        completion = _write_tiny(walk) if tiny else _write_text(walk, random.Random(f"phrases/{problem.key}"))
        if count_tokens(completion) <= settings.max_tokens:
            return Journey(completion, walk)
    return None


def shortcut(attempt: JourneyAttempt, tiny: bool) -> str:
    """Return the completion of a right attempt alone."""
    return _write_tiny([attempt]) if tiny else "".join(attempt.steps) + attempt.ending


def depth_first(attempts: Sequence[JourneyAttempt]) -> Iterator[JourneyAttempt]:
    """Yield the attempts, whose paths differ, in the order of a depth-first walk over their tree.

    At each fork the branches follow in the order of their first occurrence, except that an attempt that ends there
    comes first, and the branch with the right attempt last.
    """
    if len(attempts) < 2:
        yield from attempts
        return
    depth = len(os.path.commonprefix([attempt.path for attempt in attempts]))
    branches: dict[tuple[str, ...], list[JourneyAttempt]] = {}
    for attempt in attempts:
        branches.setdefault(attempt.path[depth : depth + 1], []).append(attempt)
    for _, branch in sorted(branches.items(), key=lambda item: (any(a.right for a in item[1]), item[0] != ())):
        yield from depth_first(branch)


def explain(problem: Problem, reason: str) -> str | None:
    """Turn the checker's reason into a clause; None if the answer could not be read, so that there is nothing to say.

    The true value is repeated only if the problem states it, as countdown does: a thought that names the answer of a
    word problem would teach the model to know it.
    """
    if (found := WRONG_VALUE.fullmatch(reason)) is not None:
        value, truth = found.groups()
        if not isinstance(problem.fields.get("target"), int):
            return f"{value} is not right"
        return f"{value} is not {truth}; too {'small' if Fraction(value) < Fraction(truth) else 'big'}"
    if reason.startswith(("uses ", "divides ")):
        return f"that {reason}"
    return reason if reason.startswith(("test ", "the asserts")) else None


def _text_attempts(problem: Problem, candidate: CandidateRow, sample: int) -> Iterator[JourneyAttempt]:
    """Yield the sample as one attempt, unless its thought or answer is empty or its error cannot be explained."""
    text = candidate["text"]
    thought = text.partition(THINK_END)[0].rstrip()
    answer = read_tags(text).answer
    reason = "" if candidate["correct"] else explain(problem, candidate["reason"])
    if thought and answer and reason is not None:
        ending = text[len(thought) :] if candidate["correct"] else ""
        yield JourneyAttempt(tuple(STEP.findall(thought)), reason, answer, ending, sample)


def _tiny_attempts(problem: Problem, candidate: CandidateRow, sample: int) -> Iterator[JourneyAttempt]:
    """Yield the lines of the sample that use each number once and calculate correctly. The last line is right if it
    reaches the target and the answer is correct."""
    thought, _, _ = candidate["text"].partition(THINK_END)
    target = problem.fields["target"]
    attempts = read_trace(thought, problem.fields["numbers"], target).attempts
    for index, attempt in enumerate(attempts):
        hits, is_last = attempt.hits(target), index == len(attempts) - 1
        if not attempt.copied or not attempt.arithmetic or (hits and not (is_last and candidate["correct"])):
            continue
        steps = tuple(thought[equation.start : equation.end].strip() for equation in attempt.equations)
        ending = candidate["text"][len(thought) :] if hits else ""
        yield JourneyAttempt(steps, "yes" if hits else "low" if attempt.value < target else "high", "", ending, sample)


def _write_tiny(walk: Sequence[JourneyAttempt]) -> str:
    lines = [f" {', '.join(attempt.steps)} {attempt.reason}\n" for attempt in walk]
    return "".join(lines) + walk[-1].ending


def _write_text(walk: Sequence[JourneyAttempt], rng: random.Random) -> str:
    parts = list(walk[0].steps)
    for wrong, following in zip(walk, walk[1:], strict=False):
        shared = len(os.path.commonprefix([wrong.path, following.path]))
        words = [rng.choice(CLAIMS).format(answer=wrong.answer)] if _is_short(wrong.answer) else []
        words.append(rng.choice(EXPLANATIONS).format(reason=wrong.reason))
        last_shared = following.path[shared - 1].rstrip(".!?") if shared else ""
        goes_back = shared > 0 and _is_short(last_shared)
        words.append(rng.choice(GOES_BACK).format(step=last_shared) if goes_back else rng.choice(STARTS_OVER))
        steps = "".join(following.steps[shared:] if goes_back else following.steps).lstrip()
        parts += ["\n", " ".join(words), "\n" if steps else "", steps]
    return "".join(parts) + walk[-1].ending


def _is_short(text: str) -> bool:
    return len(text) <= MAX_QUOTED and "\n" not in text

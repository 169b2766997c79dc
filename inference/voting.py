"""Choosing among finished completions: by votes, by scores, or by both."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from grpo.settings import at_least
from inference.types import Candidate
from rewards.latex_text import normalized
from rewards.numbers import NumberError, read_number
from rewards.tags import read_tags

MAX_KEY = 1000  # characters; a longer answer counts as missing
OPERATORS = frozenset("+*/()=^")


@dataclass(frozen=True)
class Vote:
    """The result of a majority vote.

    chosen  index of the completion with the winning answer; 0 if no completion has an answer
    votes   answer -> number of votes, in order of first occurrence
    ties    the answers with the most votes if there are several, else empty
    silent  number of completions without an answer
    """

    chosen: int
    votes: dict[str, int]
    ties: list[str]
    silent: int


def answer_key(candidate: Candidate) -> str | None:
    """Return the answer between the tags, normalized so that equal answers compare equal; None if there is none.

    A plain number is represented by its value (`1,080` and `$1080.00` agree), any other answer by its text without
    markup and without spaces around operators. `8/2` differs from `4`: in a task that asks for an expression only one
    of them may be correct.
    """
    answer = " ".join((read_tags(candidate.text).answer or "").split())
    if OPERATORS.isdisjoint(answer):
        with suppress(NumberError):
            return str(read_number(answer))
    answer = normalized(answer)
    return answer if 0 < len(answer) <= MAX_KEY else None


def vote(keys: Sequence[str | None]) -> Vote:
    """Count one vote per answer; the first of the tied answers wins."""
    votes: dict[str, int] = {}
    for key in keys:
        if key is not None:
            votes[key] = votes.get(key, 0) + 1
    tied = [key for key, count in votes.items() if count == max(votes.values())]
    chosen = keys.index(tied[0]) if tied else 0
    return Vote(chosen, votes, tied if len(tied) > 1 else [], keys.count(None))


def best(scores: Sequence[float]) -> int:
    """Return the index of the highest score, the first in case of a tie."""
    return max(range(len(scores)), key=lambda index: scores[index])


def weighted_best(keys: Sequence[str | None], scores: Sequence[float]) -> tuple[int, dict[str, float]]:
    """Return the index of the chosen completion, and the sum of the scores of each answer.

    The answer with the highest sum wins, the first in case of a tie, and its completion with the highest score is
    chosen. If no completion has an answer, the highest score decides.

    Raises:
        ValueError: a score is negative, so that repeating an answer would count against it.
    """
    sums: dict[str, float] = {}
    for key, score in zip(keys, scores, strict=True):
        at_least("the verifier's score for strategy.weighted=true", score, 0)
        if key is not None:
            sums[key] = sums.get(key, 0.0) + score
    if not sums:
        return best(scores), sums
    winner = max(sums, key=lambda key: sums[key])
    candidates = [index for index, key in enumerate(keys) if key == winner]
    return candidates[best([scores[index] for index in candidates])], sums

"""Choosing among whole completions: by votes, by scores, by both."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from inference.engine import Candidate, require
from rewards.numbers import NumberError, read_number
from rewards.tags import read_tags

LONGEST_KEY = 1000  # characters; a longer answer is none
OPERATORS = frozenset("+*/()=^")


@dataclass(frozen=True)
class Vote:
    """chosen  the place of the winner; 0 when nobody voted
    votes   of each answer, in the order they were first given
    ties    the answers with the most votes, when there are several
    silent  how many gave no answer, and so no vote
    """

    chosen: int
    votes: dict[str, int]
    ties: list[str]
    silent: int


def answer_key(candidate: Candidate) -> str | None:
    """The answer between the tags in a form in which equal answers are equal: a plain number is its value
    (`1,080` and `$1080.00` agree), anything else its words. `8/2` is not `4`: where an expression is asked for
    one may be right and the other wrong."""
    answer = " ".join((read_tags(candidate.text).answer or "").split())
    if OPERATORS.isdisjoint(answer):
        with suppress(NumberError):
            return str(read_number(answer))
    return answer if 0 < len(answer) <= LONGEST_KEY else None


def vote(keys: Sequence[str | None]) -> Vote:
    """One vote each for the answers; of those with the most votes the one first given wins."""
    votes: dict[str, int] = {}
    for key in keys:
        if key is not None:
            votes[key] = votes.get(key, 0) + 1
    first = [key for key, count in votes.items() if count == max(votes.values())]
    chosen = keys.index(first[0]) if first else 0
    return Vote(chosen, votes, first if len(first) > 1 else [], keys.count(None))


def best(scores: Sequence[float]) -> int:
    """The place of the highest score, the first of equal ones."""
    return max(range(len(scores)), key=lambda place: scores[place])


def weighted_best(keys: Sequence[str | None], scores: Sequence[float]) -> tuple[int, dict[str, float]]:
    """The place of the winner, and the sum of the scores of each answer.

    The answer with the highest sum wins, by its highest score; of equal ones the one first given. Without
    any answer it is the highest score.

    Raises:
        ValueError: a score is negative, so that giving an answer again would count against it.
    """
    sums: dict[str, float] = {}
    for key, score in zip(keys, scores, strict=True):
        require(score >= 0, "the verifier's score", score, ">= 0 where it weighs votes")
        if key is not None:
            sums[key] = sums.get(key, 0.0) + score
    if not sums:
        return best(scores), sums
    winner = max(sums, key=lambda key: sums[key])
    own = [place for place, key in enumerate(keys) if key == winner]
    return own[best([scores[place] for place in own])], sums

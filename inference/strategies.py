"""Strategies whose completions are all made at once.

Each is its settings, checked when it is made; called with a problem it is a generator (inference/engine.py).
A strategy's first n completions are the same as another's with the same `Decoding`, so that what differs
between two results is the choice alone.
"""

from dataclasses import dataclass, replace

from grpo.types import Problem
from inference.engine import Codec, Outcome, Strategy, require, verify
from inference.select import answer_key, best, vote, weighted_best
from inference.writing import Decoding, pen_for


@dataclass(frozen=True)
class Sample:
    """n completions; the first is chosen. Zero-shot chain of thought, or a direct answer, as `decoding.prompt`
    says (arXiv 2205.11916)."""

    decoding: Decoding
    n: int = 1

    def __post_init__(self) -> None:
        _check_n(self.n, self.decoding)

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        candidates = yield from pen.write([pen.blank] * self.n, step=0)
        return Outcome(candidates[0], tuple(candidates))


def greedy(decoding: Decoding) -> Sample:
    """One completion, each token the most likely one."""
    return Sample(replace(decoding, temperature=0.0))


@dataclass(frozen=True)
class Majority:
    """Self-consistency (arXiv 2203.11171): the answer that most of n completions give. A completion without an
    answer has no vote; of answers with equally many votes the one first given wins."""

    decoding: Decoding
    n: int

    def __post_init__(self) -> None:
        _check_n(self.n, self.decoding)

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        candidates = yield from pen.write([pen.blank] * self.n, step=0)
        result = vote([answer_key(candidate) for candidate in candidates])
        details = {"votes": result.votes, "ties": result.ties, "silent": result.silent}
        return Outcome(candidates[result.chosen], tuple(candidates), details)


@dataclass(frozen=True)
class BestOfN:
    """The completion of n with the highest score of the verifier; `weighted`: the answer with the highest sum of
    scores over all completions that give it (arXiv 2408.03314, section 5.1)."""

    decoding: Decoding
    n: int
    weighted: bool = False

    def __post_init__(self) -> None:
        _check_n(self.n, self.decoding)

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        candidates = yield from pen.write([pen.blank] * self.n, step=0)
        scores = yield from verify(candidates)
        if not self.weighted:
            return Outcome(candidates[best(scores)], tuple(candidates), {"scores": scores})
        chosen, sums = weighted_best([answer_key(candidate) for candidate in candidates], scores)
        return Outcome(candidates[chosen], tuple(candidates), {"scores": scores, "sums": sums})


def _check_n(n: int, decoding: Decoding) -> None:
    require(n >= 1, "n", n, ">= 1")
    require(n == 1 or decoding.temperature > 0, "temperature", decoding.temperature, "> 0 where n > 1")

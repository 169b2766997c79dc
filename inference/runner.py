"""Many problems in lockstep: what their strategies ask for in a round goes to the engine in one batch."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from grpo.types import Completion, Problem
from inference.engine import Ask, Engine, Outcome, Reply, Request, Strategy, StrategyOf, Verify, require
from inference.verifiers import Item, Verifier


def run(
    strategy_of: StrategyOf,
    problems: Iterable[Problem],
    engine: Engine,
    verifier: Verifier | None = None,
    max_asks: int = 1024,
) -> Iterator[tuple[int, Outcome]]:
    """(place, outcome) of every problem, as they are finished.

    max_asks  the most requests in flight. Further problems wait until others are finished; the requests of
              one problem that asks for more at once are served in parts. It changes no outcome.

    Raises:
        ValueError: a setting; or the strategy needs a verifier and there is none, or it gave no number.
    """
    require(max_asks >= 1, "max_asks", max_asks, ">= 1")
    waiting = (_Going(place, one, strategy_of(one, engine)) for place, one in enumerate(problems))
    return _rounds(waiting, engine, verifier, max_asks)


class _Going:
    """A problem whose strategy has begun: its open request or its outcome, and what it has spent."""

    def __init__(self, place: int, problem: Problem, strategy: Strategy) -> None:
        self.place, self.problem, self.strategy = place, problem, strategy
        self.request: Request = []
        self.outcome: Outcome | None = None
        self.tokens = self.rounds = self.scored = 0
        self._send(None)

    @property
    def size(self) -> int:
        return len(self.request.candidates) if isinstance(self.request, Verify) else len(self.request)

    @property
    def asks(self) -> list[Ask]:
        return [] if isinstance(self.request, Verify) else self.request

    @property
    def items(self) -> list[Item]:
        candidates = self.request.candidates if isinstance(self.request, Verify) else ()
        return [(self.problem, candidate) for candidate in candidates]

    def answer(self, completions: list[Completion], scores: list[float]) -> None:
        if isinstance(self.request, Verify):
            self.scored += len(scores)
            self._send(scores)
        else:
            self.rounds += 1
            self.tokens += sum(len(completion.token_ids) for completion in completions)
            self._send(completions)

    def _send(self, reply: Reply) -> None:
        try:
            self.request = self.strategy.send(reply)
        except StopIteration as end:
            spent = {"tokens": self.tokens, "rounds": self.rounds, "scored": self.scored}
            self.request, self.outcome = [], replace(end.value, **spent)


def _rounds(
    waiting: Iterator[_Going], engine: Engine, verifier: Verifier | None, max_asks: int
) -> Iterator[tuple[int, Outcome]]:
    going: list[_Going] = []
    following = next(waiting, None)
    while going or following is not None:
        while following is not None and (not going or sum(one.size for one in going) + following.size <= max_asks):
            going.append(following)
            following = next(waiting, None)
        _serve([one for one in going if one.outcome is None], engine, verifier, max_asks)
        for one in going:
            if one.outcome is not None:
                yield one.place, one.outcome
        going = [one for one in going if one.outcome is None]


def _serve(going: Sequence[_Going], engine: Engine, verifier: Verifier | None, max_asks: int) -> None:
    """One round: every open request is answered."""
    asks = [ask for one in going for ask in one.asks]
    items = [item for one in going for item in one.items]
    completions: list[Completion] = []
    for start in range(0, len(asks), max_asks):
        completions += engine.generate(asks[start : start + max_asks])
    scores: list[float] = []
    for start in range(0, len(items), max_asks):
        scores += _scores(items[start : start + max_asks], verifier)
    assert len(completions) == len(asks) and len(scores) == len(items)
    written, scored = iter(completions), iter(scores)
    for one in going:
        one.answer([next(written) for _ in one.asks], [next(scored) for _ in one.items])


def _scores(items: Sequence[Item], verifier: Verifier | None) -> list[float]:
    if verifier is None:
        raise ValueError("verifier must be given for a strategy that scores candidates, got null")
    scores = verifier.score(items)
    for (problem, _), score in zip(items, scores, strict=True):
        require(not math.isnan(score), f"the verifier's score for {problem.key}", score, "a number")
    return scores

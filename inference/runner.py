"""Runs a strategy on many problems in lockstep: each round sends the requests of all active problems as one batch."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from grpo.types import Completion, Problem, Request
from inference.types import Engine, Item, Reply, Routine, Strategy, StrategyOutput, Verifier, Verify


def run(
    strategy: Strategy,
    problems: Iterable[Problem],
    engine: Engine,
    verifier: Verifier | None = None,
    max_requests: int = 1024,
) -> Iterator[tuple[int, StrategyOutput]]:
    """Yield (problem index, output) as each problem finishes.

    max_requests  upper bound on the requests in flight. Further problems wait until others finish; a problem that
                  makes more requests at once is served in several batches. The bound does not affect the outputs.

    Raises:
        ValueError: the strategy needs a verifier but `verifier` is None, or a score is NaN.
    """
    waiting = (_ActiveProblem(index, problem, strategy(problem, engine)) for index, problem in enumerate(problems))
    return _rounds(waiting, engine, verifier, max_requests)


class _ActiveProblem:
    """A problem whose strategy has started: the pending requests or the output, and the tokens spent so far."""

    def __init__(self, index: int, problem: Problem, routine: Routine[StrategyOutput]) -> None:
        self.index, self.problem, self.routine = index, problem, routine
        self.pending: list[Request] | Verify = []
        self.output: StrategyOutput | None = None
        self.tokens = self.rounds = self.scored = 0
        self._send(None)

    @property
    def size(self) -> int:
        """Number of pending requests or candidates to score."""
        return len(self.pending.candidates) if isinstance(self.pending, Verify) else len(self.pending)

    @property
    def requests(self) -> list[Request]:
        return [] if isinstance(self.pending, Verify) else self.pending

    @property
    def items(self) -> list[Item]:
        candidates = self.pending.candidates if isinstance(self.pending, Verify) else ()
        return [(self.problem, candidate) for candidate in candidates]

    def reply(self, completions: list[Completion], scores: list[float]) -> None:
        """Resume the strategy with what it asked for."""
        if isinstance(self.pending, Verify):
            self.scored += len(scores)
            self._send(scores)
        else:
            self.rounds += 1
            self.tokens += sum(len(completion.token_ids) for completion in completions)
            self._send(completions)

    def _send(self, reply: Reply) -> None:
        try:
            self.pending = self.routine.send(reply)
        except StopIteration as end:
            spent = {"tokens": self.tokens, "rounds": self.rounds, "scored": self.scored}
            self.pending, self.output = [], replace(end.value, **spent)


def _rounds(
    waiting: Iterator[_ActiveProblem], engine: Engine, verifier: Verifier | None, max_requests: int
) -> Iterator[tuple[int, StrategyOutput]]:
    active: list[_ActiveProblem] = []
    following = next(waiting, None)
    while active or following is not None:
        in_flight = sum(problem.size for problem in active)
        while following is not None and (not active or in_flight + following.size <= max_requests):
            active.append(following)
            in_flight += following.size
            following = next(waiting, None)
        _serve([problem for problem in active if problem.output is None], engine, verifier, max_requests)
        for problem in active:
            if problem.output is not None:
                yield problem.index, problem.output
        active = [problem for problem in active if problem.output is None]


def _serve(active: Sequence[_ActiveProblem], engine: Engine, verifier: Verifier | None, max_requests: int) -> None:
    """Serve one round: fulfil every pending request and resume the strategies."""
    requests = [request for problem in active for request in problem.requests]
    items = [item for problem in active for item in problem.items]
    completions: list[Completion] = []
    for start in range(0, len(requests), max_requests):
        completions += engine.generate(requests[start : start + max_requests])
    scores: list[float] = []
    for start in range(0, len(items), max_requests):
        scores += _scores(items[start : start + max_requests], verifier)
    assert len(completions) == len(requests) and len(scores) == len(items)
    next_completion, next_score = iter(completions), iter(scores)
    for problem in active:
        problem.reply([next(next_completion) for _ in problem.requests], [next(next_score) for _ in problem.items])


def _scores(items: Sequence[Item], verifier: Verifier | None) -> list[float]:
    if verifier is None:
        raise ValueError("this strategy scores candidates and needs a verifier, got None")
    scores = verifier.score(items)
    for (problem, _), score in zip(items, scores, strict=True):
        if math.isnan(score):
            raise ValueError(f"the verifier's score for {problem.key} must be a number, got {score}")
    return scores

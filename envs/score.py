"""Completions become scored groups."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from envs.grader import failed
from envs.grading import GradingPool
from grpo.types import Completion, Group, Problem, Rollout, Score
from rewards.judge import FormatJudge
from rewards.mix import FORMAT_JUDGE, RewardConfig
from rewards.verdict import Verdict

JUDGED_TOGETHER = 16


class Env(Protocol):
    """What a task offers. Problems are functions of (seed, split, index) alone."""

    name: str

    def problem(self, seed: int, split: str, index: int) -> Problem: ...

    def eval_set(self, count: int) -> list[Problem]: ...

    def check(self, problem: Problem, answer: str | None) -> Verdict: ...

    def read(self, fields: Mapping[str, Any]) -> Problem: ...


class Scorer:
    """Scores completions as they come, in processes beside those that write them."""

    def __init__(self, env: Env, reward: RewardConfig, judge: FormatJudge | None = None) -> None:
        assert reward.judged == (judge is not None)
        self.reward = reward
        self.pool = GradingPool(env, reward)
        self.judge = judge
        self.seconds_after = 0.0  # from the last completion to the last score
        self.judging = ThreadPoolExecutor(1, thread_name_prefix="judging")

    def score(
        self, problems: Sequence[Problem], completions: Iterable[tuple[int, Completion]], group_size: int = 1
    ) -> list[Group]:
        """Groups in the order of `problems`.

        completions  (place, completion) as they are finished, in any order; places 0..G-1 belong to
                     the first problem, the next G to the second
        """
        written: dict[int, Completion] = {}
        scores: dict[int, Future[Score]] = {}
        reviews: list[tuple[list[int], Future[list[float | None]]]] = []
        unread: list[int] = []
        for place, completion in completions:
            written[place] = completion
            problem = problems[place // group_size]
            scores[place] = self.pool.submit(problem, completion.text, len(completion.token_ids))
            unread.append(place)
            if self.judge is not None and len(unread) == JUDGED_TOGETHER:
                reviews.append(self._review(self.judge, unread, written))
                unread = []
        if self.judge is not None and unread:
            reviews.append(self._review(self.judge, unread, written))
        last_written = time.monotonic()
        final = {place: score.result() for place, score in scores.items()}
        for places, review in reviews:
            for place, value in zip(places, review.result(), strict=True):
                final[place] = join_review(self.reward, final[place], value)
        self.seconds_after = time.monotonic() - last_written
        rollouts = [Rollout(written[place], final[place]) for place in range(len(problems) * group_size)]
        return [
            Group(problem, tuple(rollouts[place * group_size : (place + 1) * group_size]))
            for place, problem in enumerate(problems)
        ]

    def _review(
        self, judge: FormatJudge, places: list[int], written: Mapping[int, Completion]
    ) -> tuple[list[int], Future[list[float | None]]]:
        return places, self.judging.submit(judge.review, [written[place].text for place in places])

    def close(self) -> None:
        self.pool.close()
        self.judging.shutdown(cancel_futures=True)

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def join_review(reward: RewardConfig, score: Score, review: float | None) -> Score:
    """The score with the judge's component; a judge that failed is a counted error."""
    if score.error is not None:
        return score
    if review is None:
        return failed(reward, "the judge gave no score")
    components = {**score.components, FORMAT_JUDGE: review}
    return replace(score, components=components, reward=reward.total(components))

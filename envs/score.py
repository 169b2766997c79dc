"""Turns completions into scored groups."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from envs.env import Env
from envs.grading import GradingPool, failed
from grpo.types import Completion, Group, Problem, Rollout, Score
from rewards.judge import FormatJudge
from rewards.mix import FORMAT_JUDGE, RewardConfig
from rewards.shuffle import shuffle_rewards

JUDGE_BATCH_SIZE = 16


class Scorer:
    """Scores completions as they arrive, in processes of its own. Use as a context manager.

    judge  reviews the format of completions; required if and only if the reward has the component `format_judge`
    """

    def __init__(self, env: Env, reward: RewardConfig, judge: FormatJudge | None = None) -> None:
        assert reward.judged == (judge is not None)
        self.reward = reward
        self.pool = GradingPool(env, reward)
        self.judge = judge
        self.judge_thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self.seconds_after = 0.0  # between the last completion and the last score of the latest call

    def score(
        self, problems: Sequence[Problem], completions: Iterable[tuple[int, Completion]], group_size: int = 1
    ) -> list[Group]:
        """Score `group_size` completions of each problem; returns the groups in the order of `problems`.

        completions  (index, completion) in any order; indices 0..G-1 belong to the first problem, the next G to
                     the second, and so on
        """
        written: dict[int, Completion] = {}
        pending: dict[int, Future[Score]] = {}
        reviews: list[tuple[list[int], Future[list[float | None]]]] = []
        unreviewed: list[int] = []
        for index, completion in completions:
            written[index] = completion
            problem = problems[index // group_size]
            pending[index] = self.pool.submit(problem, completion.text, len(completion.token_ids))
            unreviewed.append(index)
            is_last = len(written) == len(problems) * group_size
            if self.judge is not None and (is_last or len(unreviewed) == JUDGE_BATCH_SIZE):
                texts = [written[i].text for i in unreviewed]
                reviews.append((unreviewed, self.judge_thread.submit(self.judge.review, texts)))
                unreviewed = []
        last_written = time.monotonic()
        scores = {index: future.result() for index, future in pending.items()}
        for indices, review in reviews:
            for index, value in zip(indices, review.result(), strict=True):
                scores[index] = join_review(self.reward, scores[index], value)
        self.seconds_after = time.monotonic() - last_written
        graded = [scores[index] for index in range(len(problems) * group_size)]
        if self.reward.shuffled:
            graded = shuffle_rewards(graded, [problem.key for problem in problems])
        rollouts = [Rollout(written[index], score) for index, score in enumerate(graded)]
        return [
            Group(problem, tuple(rollouts[index * group_size : (index + 1) * group_size]))
            for index, problem in enumerate(problems)
        ]

    def close(self) -> None:
        self.pool.close()
        self.judge_thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def join_review(reward: RewardConfig, score: Score, review: float | None) -> Score:
    """Add the judge's component to a score. Without a review there is no reward; accuracy does not depend on it."""
    if score.error is not None:
        return score
    if review is None:
        return replace(failed(reward, "the judge gave no score"), correct=score.correct, reason=score.reason)
    components = {**score.components, FORMAT_JUDGE: review}
    return replace(score, components=components, reward=reward.total(components))

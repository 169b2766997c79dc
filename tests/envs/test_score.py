import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from envs.countdown.corpus import tiny_countdown
from envs.grading import START_TIMEOUT, grade
from envs.score import Scorer
from rewards.judge import FormatJudge, JudgeConfig
from rewards.mix import RewardConfig
from rewards.verdict import CORRECT
from tests.builders import PROBLEM, completion

TINYZERO = {"correct": 0.9, "answered": 0.1}


def scored(text, weights=TINYZERO):
    env = tiny_countdown()
    problem = env.problem(0, "train", 0)
    return grade(env, RewardConfig(weights), problem, text.replace("GOLD", problem.answer), 10)


@pytest.mark.parametrize(
    ("text", "reward", "correct"),
    [
        ("</think><answer>GOLD</answer>", 1.0, True),
        ("</think><answer>GOLD</answer>\n", 1.0, True),
        ("</think><answer>1 + 1</answer>", 0.1, False),
        ("</think><answer></answer>", 0.0, False),
        ("</think><answer>9**9**9</answer>", 0.0, False),
        ("GOLD", 0.0, False),
    ],
)
def test_the_tinyzero_reward_is_1_or_a_tenth_or_0(text, reward, correct):
    found = scored(text)
    assert found.reward == pytest.approx(reward) and found.correct is correct and found.error is None


def test_each_component_is_stored_separately():
    found = scored("so </think><answer>GOLD</answer>", {"correct": 2.0, "format": 0.5})
    assert found.components == {"correct": 1.0, "format": 1.0} and found.reward == 2.5
    assert scored("<answer>GOLD</answer></think>", {"correct": 2.0, "format": 0.5}).reward == 2.0


@dataclass
class Treacherous:
    """A task whose checker follows the instruction in the answer."""

    name: str = "treacherous"

    def check(self, problem, answer):
        if answer == "hang":
            time.sleep(60)
        if answer == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if answer == "raise":
            raise ZeroDivisionError("no")
        if answer == "eat":
            return bytearray(2**40)
        return CORRECT


def test_a_grader_that_hangs_dies_raises_or_exhausts_memory_costs_one_score():
    texts = [f"<answer>{word}</answer>" for word in ("fine", "hang", "fine", "die", "fine", "raise", "eat", "fine")]
    with Scorer(Treacherous(), RewardConfig({"correct": 1.0}, timeout_s=1.0)) as scorer:
        groups = scorer.score([PROBLEM], enumerate(completion(text=text) for text in texts), len(texts))
    scores = [rollout.score for rollout in groups[0].rollouts]
    assert [score.correct for score in scores] == [True, False, True, False, True, False, False, True]
    errors = [score.error for score in scores]
    assert errors[1] == "took longer than reward.timeout_s=1 s" and errors[3] == "died"
    assert errors[5] == "ZeroDivisionError('no')" and "MemoryError" in str(errors[6])
    assert [error for index, error in enumerate(errors) if index not in (1, 3, 5, 6)] == [None] * 4


def test_every_hang_costs_the_time_limit_and_the_start_of_a_process(monkeypatch):
    """The time limit of the completion after a hang does not include that of the start, which is a minute."""
    texts = ["<answer>hang</answer>"] * 3
    started = time.monotonic()
    with Scorer(Treacherous(), RewardConfig({"correct": 1.0}, timeout_s=0.5, workers=1)) as scorer:
        scorer.score([PROBLEM], enumerate(completion(text=text) for text in texts), len(texts))
    assert time.monotonic() - started < START_TIMEOUT


@dataclass
class DiesOnce:
    """A task whose checker dies the first time, as if something else had killed it."""

    marker: Path
    name: str = "dies-once"

    def check(self, problem, answer):
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return CORRECT


def test_a_completion_whose_grader_died_is_scored_by_a_new_one(tmp_path):
    with Scorer(DiesOnce(tmp_path / "marker"), RewardConfig({"correct": 1.0}, workers=1)) as scorer:
        [group] = scorer.score([PROBLEM], enumerate([completion(text="<answer>x</answer>")] * 2), 2)
    assert [rollout.score.correct for rollout in group.rollouts] == [True, True]
    assert [rollout.score.error for rollout in group.rollouts] == [None, None]


def test_a_killed_idle_grader_costs_no_score():
    with Scorer(Treacherous(), RewardConfig({"correct": 1.0}, workers=1)) as scorer:
        for _ in range(2):
            [group] = scorer.score([PROBLEM], enumerate([completion(text="<answer>fine</answer>")]))
            assert group.rollouts[0].score.error is None
            grader = scorer.pool.idle.get()
            os.kill(grader.process.pid, signal.SIGKILL)
            scorer.pool.idle.put(grader)


def test_completions_in_any_order_are_assigned_to_their_problems():
    env = tiny_countdown()
    problems = [env.problem(0, "train", i) for i in range(2)]
    stream = [(index, completion(text="abcd"[index])) for index in (3, 0, 2, 1)]
    with Scorer(env, RewardConfig(TINYZERO)) as scorer:
        groups = scorer.score(problems, stream, 2)
    assert [[r.completion.text for r in g.rollouts] for g in groups] == [["a", "b"], ["c", "d"]]
    assert [g.problem for g in groups] == problems


def test_scoring_runs_during_generation():
    """Four completions that take 0.2 s each to generate and 0.2 s each to check take little more than 0.8 s."""
    with Scorer(Slow(), RewardConfig({"correct": 1.0})) as scorer:
        scorer.score([PROBLEM], enumerate([completion()]))

        def writing():
            for index in range(4):
                time.sleep(0.2)
                yield index, completion(text="<answer>x</answer>")

        scorer.score([PROBLEM], writing(), 4)
    assert 0.1 < scorer.seconds_after < 0.6


@dataclass
class Slow:
    name: str = "slow"

    def check(self, problem, answer):
        time.sleep(0.2)
        return CORRECT


def test_the_score_of_the_judge_is_joined_and_its_failure_is_an_error():
    def ask(questions):
        return ["SCORE: 3" if "tidy" in question.user else None for question in questions]

    reward = RewardConfig({"correct": 1.0, "format_judge": 0.5}, judge=JudgeConfig(model="any"))
    problem = tiny_countdown().problem(0, "train", 0)
    answer = f"</think><answer>{problem.answer}</answer>"
    texts = [f"tidy {answer}", f"no reply {answer}"]
    with Scorer(tiny_countdown(), reward, FormatJudge(ask)) as scorer:
        (group,) = scorer.score([problem], enumerate(completion(text=text) for text in texts), 2)
    good, bad = (rollout.score for rollout in group.rollouts)
    assert good.reward == 1.0 + 0.5 * 0.75 and good.components == {"correct": 1.0, "format_judge": 0.75}
    assert bad.error == "the judge gave no score" and bad.reward == 0.0
    assert bad.correct  # accuracy does not depend on the judge


def test_shuffled_rewards_keep_their_mean_but_not_their_completions():
    env, problem = tiny_countdown(), tiny_countdown().problem(0, "train", 0)
    texts = 8 * [f"</think><answer>{problem.answer}</answer>"] + 24 * ["</think><answer>1 + 1</answer>"]
    with Scorer(env, RewardConfig({"correct": 1.0}, shuffled=True)) as scorer:
        groups = scorer.score([problem] * 4, enumerate(completion(text=text) for text in texts), 8)
    scores = [rollout.score for group in groups for rollout in group.rollouts]
    assert [score.correct for score in scores] == 8 * [True] + 24 * [False]
    rewards = [score.reward for score in scores]
    assert sum(rewards) == 8.0 and sum(rewards[:8]) < 8.0

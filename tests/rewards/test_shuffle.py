from grpo.types import Score
from rewards.shuffle import shuffle_rewards

SCORES = [Score(float(i), i % 2 == 0, {"correct": float(i)}, f"reason {i}") for i in range(64)]


def test_each_reward_goes_to_one_completion_and_correctness_stays():
    found = shuffle_rewards(SCORES, ["a", "b"])
    assert sorted(score.reward for score in found) == [score.reward for score in SCORES]
    assert [(s.correct, s.reason) for s in found] == [(s.correct, s.reason) for s in SCORES]
    assert all(score.components == {"correct": score.reward} for score in found)
    moved = sum(now.reward != before.reward for now, before in zip(found, SCORES))
    assert moved > 55  # about one of 64 stays where it was


def test_the_problems_of_a_step_decide_the_permutation():
    rewards = [score.reward for score in shuffle_rewards(SCORES, ["a", "b"])]
    assert rewards == [score.reward for score in shuffle_rewards(SCORES, ["a", "b"])]
    assert rewards != [score.reward for score in shuffle_rewards(SCORES, ["a", "c"])]

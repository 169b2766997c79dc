import pytest

from data.tiny_corpus import tiny_countdown
from envs.score import score
from rewards.mix import COMPONENTS
from tests.builders import completion

TINYZERO = {"correct": 0.9, "answered": 0.1}


def scored(text, weights=TINYZERO):
    env = tiny_countdown()
    problem = env.problem(0, "train", 0)
    text = text.replace("GOLD", problem.answer)
    return score(env, [problem], [completion(text=text), completion(text="")], weights)[0].rollouts[0].score


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
def test_tinyzero_gives_1_a_tenth_or_nothing(text, reward, correct):
    found = scored(text)
    assert found.reward == pytest.approx(reward) and found.correct is correct and found.error is None


def test_each_component_is_kept_apart():
    assert scored("</think><answer>GOLD</answer>", {"correct": 2.0, "tags": 0.5}).components == {
        "correct": 1.0,
        "tags": 1.0,
    }
    assert scored("<answer>GOLD</answer></think>", {"correct": 2.0, "tags": 0.5}).reward == 2.0


def test_a_grader_that_raises_is_an_error_and_no_silent_zero(monkeypatch):
    monkeypatch.setattr("envs.score.COMPONENTS", {**COMPONENTS, "correct": lambda parts, verdict: 1 / 0})
    found = scored("</think><answer>GOLD</answer>")
    assert found.error == "ZeroDivisionError('division by zero')" and found.reward == 0.0


def test_completions_are_grouped_by_problem_in_order():
    env = tiny_countdown()
    problems = [env.problem(0, "train", i) for i in range(2)]
    texts = ["a", "b", "c", "d"]
    groups = score(env, problems, [completion(text=t) for t in texts], TINYZERO)
    assert [[r.completion.text for r in g.rollouts] for g in groups] == [["a", "b"], ["c", "d"]]
    assert [g.problem for g in groups] == problems

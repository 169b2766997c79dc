import random

import pytest

from envs.countdown.checker import check
from envs.countdown.corpus import all_derivations, tiny_countdown
from envs.countdown.task import Countdown, sorted_text


def test_a_problem_is_a_function_of_seed_split_and_index():
    env = Countdown()
    assert env.problem(3, "train", 7) == env.problem(3, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(4, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(3, "train", 8)


@pytest.mark.parametrize("env", [tiny_countdown(), Countdown(), Countdown(num_numbers=[5], operations="+-")])
def test_every_problem_is_solved_by_its_answer(env):
    for index in range(300):
        problem = env.problem(0, "train", index)
        assert check(problem.answer, problem.fields["numbers"], problem.fields["target"]).correct
        assert len(problem.fields["numbers"]) in env.num_numbers
        assert env.min_target <= problem.fields["target"] <= env.max_target


def test_training_and_held_out_numbers_are_disjoint():
    env = tiny_countdown()
    train = {tuple(sorted(env.problem(s, "train", i).fields["numbers"])) for s in range(3) for i in range(2000)}
    held_out = {tuple(sorted(problem.fields["numbers"])) for problem in env.eval_set(512)}
    assert len(train) > 500 and len(held_out) > 100
    assert not train & held_out


def test_the_canonical_form_ignores_the_order_of_the_numbers():
    rng = random.Random(0)
    for _ in range(200):
        numbers = [rng.randint(1, 99) for _ in range(4)]
        assert sorted_text(numbers) == sorted_text(rng.sample(numbers, 4))


def test_held_out_problems_are_distinct_and_the_same_in_every_run():
    env = tiny_countdown()
    problems = env.eval_set(512)
    assert len({problem.key for problem in problems}) == 512
    assert env.eval_set(10) == problems[:10]


def test_too_many_held_out_problems_are_rejected():
    with pytest.raises(ValueError, match=r"num_problems=999"):
        Countdown(num_numbers=[2], max_number=5, max_target=10).eval_set(999)


def test_the_prompts():
    problem = tiny_countdown().problem(0, "train", 0)
    numbers, target = problem.fields["numbers"], problem.fields["target"]
    assert problem.prompt == f"make {target} from {' '.join(map(str, numbers))}\n<think>\n"
    base = Countdown().problem(0, "train", 0)
    numbers, target = base.fields["numbers"], base.fields["target"]
    assert (
        f"Using the numbers [{', '.join(map(str, numbers))}], create an equation that equals {target}." in base.prompt
    )
    assert base.prompt.endswith("Assistant: Let me solve this step by step.\n<think>")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_numbers": [1]}, "env.num_numbers must be 2 or more"),
        ({"min_number": 9, "max_number": 3}, "env.min_number must be 1..max_number, got 9"),
        ({"operations": "+^"}, r"env.operations must be some of \+-\*/, got \+\^"),
        ({"prompt_style": "loud"}, "env.prompt_style must be one of base, chat, tiny, got loud"),
    ],
)
def test_invalid_settings_are_rejected_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Countdown(**settings)


def test_settings_without_problems_are_rejected():
    with pytest.raises(ValueError, match="no problem with"):
        Countdown(num_numbers=[2], max_number=3, min_target=90).problem(0, "train", 0)


def test_all_derivations_of_two_numbers_by_hand():
    found = {str(derivation.steps[0]) for derivation in all_derivations((3, 5))}
    assert found == {"5 + 3 = 8", "5 - 3 = 2", "5 * 3 = 15"}

import pytest

from envs.multiplication.corpus import tiny_multiplication
from envs.multiplication.task import Multiplication, sorted_pair
from envs.splits import split_of

ENVS = [tiny_multiplication(), Multiplication(), Multiplication(digits=["1x1", "2x5", "9x9"])]


def test_a_problem_is_a_function_of_seed_split_and_index():
    env = Multiplication()
    assert env.problem(3, "train", 7) == env.problem(3, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(4, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(3, "train", 8)
    assert env.problem(3, "train", 7) != env.problem(3, "test", 7)


@pytest.mark.parametrize("env", ENVS)
def test_only_the_product_is_correct(env):
    for index in range(200):
        problem = env.problem(0, "train", index)
        a, b = problem.fields["a"], problem.fields["b"]
        assert problem.answer == str(a * b) and env.check(problem, problem.answer).correct
        assert env.check(problem, f"{a} * {b} = {a * b:,}.").correct
        assert not env.check(problem, str(a * b + 1)).correct and not env.check(problem, None).correct
        assert problem.metadata["digits"] == f"{len(str(a))}x{len(str(b))}" and problem.metadata["digits"] in env.digits


def test_all_lengths_of_the_mix_occur_about_equally_often():
    env = tiny_multiplication()
    lengths = [env.problem(0, "train", index).metadata["digits"] for index in range(3000)]
    assert all(900 < lengths.count(one) < 1100 for one in env.digits)


def test_training_and_held_out_pairs_are_disjoint():
    env = tiny_multiplication()
    train = {env.problem(seed, "train", index).key for seed in range(3) for index in range(2000)}
    held_out = {problem.key for problem in env.eval_set(512)}
    assert len(train) > 3000 and len(held_out) == 512
    assert not train & held_out


def test_the_order_of_the_numbers_does_not_change_the_split():
    assert sorted_pair(47, 38) == sorted_pair(38, 47) == "38 * 47"
    env = Multiplication(digits=["2x3", "3x2"])
    for index in range(300):
        problem = env.problem(0, "test", index)
        assert problem.key == env.read({"a": problem.fields["b"], "b": problem.fields["a"]}).key
        assert split_of(problem.key) == "test"


def test_held_out_problems_are_the_same_in_every_run():
    env = tiny_multiplication()
    assert env.eval_set(10) == env.eval_set(512)[:10]


def test_too_many_held_out_problems_are_rejected():
    with pytest.raises(ValueError, match=r"num_problems=99: .* widen env.digits"):
        Multiplication(digits=["1x1"]).eval_set(99)


def test_the_curriculum_adds_lengths_from_easy_to_hard():
    # One-digit products: 2 for 2x1, 3 for 3x1, 4 for 2x2. Three lengths over 300 problems: one more every 100 problems.
    env = Multiplication(digits=["2x2", "2x1", "3x1"], curriculum=300)
    assert env.mix(0) == env.mix(99) == ["2x1"]
    assert env.mix(100) == env.mix(199) == ["2x1", "3x1"]
    assert env.mix(200) == env.mix(299) == ["2x1", "3x1", "2x2"]
    assert sorted(env.mix(300)) == sorted(env.mix(10**6)) == ["2x1", "2x2", "3x1"]
    lengths = [env.problem(0, "train", index).metadata["digits"] for index in range(300)]
    assert set(lengths[:100]) == {"2x1"} and set(lengths[100:200]) == {"2x1", "3x1"}
    assert set(lengths[200:]) == {"2x1", "3x1", "2x2"}


def test_the_curriculum_does_not_change_held_out_problems():
    assert Multiplication(curriculum=10**6, digits=["1x1", "3x3"]).eval_set(50) == (
        Multiplication(digits=["1x1", "3x3"]).eval_set(50)
    )


def test_round_false_excludes_numbers_that_end_in_0():
    problems = [Multiplication(digits=["2x1"]).problem(0, "train", index) for index in range(500)]
    assert any(problem.fields["a"] % 10 == 0 for problem in problems)
    for index in range(500):
        fields = tiny_multiplication().problem(0, "train", index).fields
        assert fields["a"] % 10 != 0 and fields["b"] % 10 != 0


def test_the_prompts():
    env = Multiplication(prompt_style="tiny")
    assert env.read({"a": 47, "b": 38}).prompt == "47 * 38\n<think>\n"
    base = str(Multiplication().read({"a": 47, "b": 38}).prompt)
    assert "User: Give me the answer of the following equation: 47 * 38 = Show your work in <think>" in base
    assert "for example <answer> 12 </answer>." in base
    assert base.endswith("Assistant: Let me solve this step by step.\n<think>")


def test_problems_are_read_from_user_fields():
    env = Multiplication()
    problem = env.read({"a": 47, "b": "38"})
    assert (problem.answer, problem.key, problem.metadata["digits"]) == ("1786", "38 * 47", "2x2")
    assert env.read({"a": 47, "b": 38, "answer": "1786"}) == problem
    alone = env.read({"answer": 1786})
    assert env.check(alone, "1,786").correct and not env.check(alone, "1787").correct


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "a must be an integer below 10.18, got None"),
        ({"a": 47}, "b must be an integer below 10.18, got None"),
        ({"a": 47, "b": True}, "b must be an integer below 10.18, got True"),
        ({"a": 47, "b": 3.5}, "b must be an integer below 10.18, got 3.5"),
        ({"a": 10**18, "b": 1}, "a must be an integer below 10.18"),
        ({"answer": "many"}, "answer must be an integer below 10.18, got 'many'"),
        ({"a": 47, "b": 38, "answer": 5}, r"answer=5 is not 47 \* 38 = 1786"),
    ],
)
def test_malformed_fields_are_rejected_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        Multiplication().read(fields)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"digits": []}, r"env.digits must be a list of lengths like 2x1 or 3x3, 1..9 digits each, got \[\]"),
        ({"digits": ["3"]}, "env.digits must be a list of lengths"),
        ({"digits": ["0x3"]}, "env.digits must be a list of lengths"),
        ({"digits": ["3x10"]}, "env.digits must be a list of lengths"),
        ({"curriculum": -1}, "env.curriculum must be 0 or more problems, got -1"),
        ({"prompt_style": "loud"}, "env.prompt_style must be one of base, chat, tiny, got loud"),
    ],
)
def test_invalid_settings_are_rejected_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Multiplication(**settings)

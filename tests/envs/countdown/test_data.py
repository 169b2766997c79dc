import random
from fractions import Fraction

import pyarrow
import pyarrow.parquet
import pytest

from envs.countdown.checker import check
from envs.countdown.task import Countdown


@pytest.fixture
def parquet(tmp_path):
    """100 problems, each followed by a copy with its numbers in another order."""
    rng, rows = random.Random(0), []
    for _ in range(100):
        numbers = [rng.randint(1, 99) for _ in range(rng.choice([3, 4]))]
        rows += [{"nums": numbers, "target": sum(numbers)}, {"nums": numbers[::-1], "target": sum(numbers)}]
    path = tmp_path / "tasks.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def test_reordered_duplicates_are_removed_and_splits_are_disjoint(parquet):
    env = Countdown(data=parquet)
    train = {env.problem(0, "train", i).key for i in range(500)}
    test = {env.problem(0, "test", i).key for i in range(500)}
    assert not train & test and len(train | test) == 100 and len(test) > 5
    assert len(env.eval_set(len(test))) == len(test)


def test_only_problems_with_the_requested_count_of_numbers_are_used(parquet):
    env = Countdown(data=parquet, num_numbers=[4])
    assert {len(env.problem(0, "train", i).fields["numbers"]) for i in range(50)} == {4}


def test_a_data_set_without_enough_problems_is_rejected(parquet):
    with pytest.raises(ValueError, match="env.data must be a dataset with 500 held-out problems"):
        Countdown(data=parquet).eval_set(500)
    with pytest.raises(ValueError, match="no problems with env.num_numbers"):
        Countdown(data=parquet, num_numbers=[6]).problem(0, "train", 0)


def test_rational_division_yields_fractional_steps():
    env = Countdown(num_numbers=[3], max_number=12, division="rational", operations="*/")
    problems = [env.problem(0, "train", i) for i in range(300)]
    for problem in problems:
        assert check(problem.answer, problem.fields["numbers"], problem.fields["target"]).correct
    whole = Countdown(num_numbers=[3], max_number=12, operations="*/")
    steps = [whole.draw_derivation(p.fields["numbers"], random.Random(seed)) for p in problems for seed in range(20)]
    assert all(isinstance(step.value, int) for one in steps if one is not None for step in one.steps)
    drawn = [env.draw_derivation([5, 2, 4], random.Random(seed)) for seed in range(50)]
    assert any(step.value == Fraction(5, 2) for one in drawn if one is not None for step in one.steps)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"numbers": [1, 2]}, "must be a list"), ({"numbers": "12", "target": 3}, "must be a list")]
    + [({"answer": "1/2"}, "not an integer")]
    + [({"numbers": [1, True], "target": 3}, "must be a list"), ({"answer": "1 +"}, "ends too early")],
)
def test_malformed_fields_are_rejected(fields, message):
    with pytest.raises(ValueError, match=message):
        Countdown().read(fields)


def test_a_problem_is_read_from_its_fields_or_from_a_solution():
    assert Countdown().read({"nums": [1, 2], "target": 3}).fields == {"numbers": [1, 2], "target": 3}
    assert Countdown().read({"answer": "(1 + 2) * 3"}).fields == {"numbers": [1, 2, 3], "target": 9}

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from envs.code.task import Code
from envs.countdown.task import Countdown
from envs.mixed import Mixed, deal, stored_problems
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions
from run.metrics import metrics_by_env
from tests.builders import completion, grouped

FIXTURES = Path(__file__).parent / "code" / "fixtures"


def mixed(**weights):
    return Mixed({"countdown": Countdown(), "multiplication": Multiplication()}, weights)


def test_problems_are_drawn_according_to_the_weights():
    env = mixed(countdown=3.0, multiplication=1.0)
    counts = Counter(env.problem(0, "train", i).env for i in range(2000))
    assert 1430 < counts["countdown"] < 1570
    assert env.problem(0, "train", 5) == env.problem(0, "train", 5) != env.problem(1, "train", 5)


def test_a_weight_of_0_excludes_a_task():
    env = mixed(countdown=1.0, multiplication=0.0)
    assert {env.problem(0, "train", i).env for i in range(50)} == {"countdown"}
    assert {p.env for p in env.eval_set(20)} == {"countdown"}


def test_every_prefix_of_the_held_out_problems_has_the_same_shares():
    problems = mixed(countdown=3.0, multiplication=1.0).eval_set(40)
    assert len({p.key for p in problems}) == 40
    assert Counter(p.env for p in problems) == {"countdown": 30, "multiplication": 10}
    assert Counter(p.env for p in problems[:8]) == {"countdown": 6, "multiplication": 2}


def test_deal_by_hand():
    assert deal({"a": 0.5, "b": 0.25, "c": 0.25}, 4) in (["a", "b", "c", "a"], ["a", "b", "a", "c"])


def test_each_problem_is_checked_by_its_own_task():
    env = mixed(countdown=1.0, multiplication=1.0)
    for problem in env.eval_set(20):
        assert env.check(problem, problem.answer).correct and not env.check(problem, "1").correct


def test_the_stored_problems_are_those_that_tasks_in_use_read_from_files(tmp_path):
    rows = "".join(f'{{"problem": "{n} + 1", "answer": {n + 1}}}\n' for n in range(20))
    (tmp_path / "sums.jsonl").write_text(rows)
    (tmp_path / "targets.jsonl").write_text("".join(f'{{"nums": [{n}, 1], "target": {n}}}\n' for n in range(2, 20)))
    sums = Questions(path=str(tmp_path / "sums.jsonl"), question_field="problem", name="sums")
    targets = Countdown(num_numbers=[2], data=str(tmp_path / "targets.jsonl"))
    functions = Code(path=f"{FIXTURES}/mbpp.jsonl")
    unused = Questions(path="absent.jsonl", name="unused")
    parts = {"a": sums, "b": targets, "c": functions, "drawn": Multiplication(), "unused": unused}
    env = Mixed(parts, dict.fromkeys(parts, 1.0) | {"unused": 0.0})
    found = Counter(problem.env for problem in stored_problems(env))
    # The file of functions has nine rows, of which four are malformed and one is a duplicate.
    assert found == {"sums": 20, "countdown": 18, "code": 4}
    assert list(stored_problems(sums)) == [*sums.problems("train"), *sums.problems("test")]


def test_each_task_has_its_own_metrics():
    env = mixed(countdown=1.0, multiplication=1.0)
    groups = [grouped(problem, [completion()]) for problem in env.eval_set(4)]
    found = metrics_by_env(groups, "eval")
    assert found == {
        f"eval/{env}/{name}": value
        for env in ("countdown", "multiplication")
        for name, value in (("accuracy", 1.0), ("reward", 1.0), ("length", 2.0))
    }
    assert metrics_by_env(groups[:1], "eval") == {}


def test_invalid_weights_are_rejected_by_name():
    with pytest.raises(ValueError, match="env.weights must be for tasks of env.parts"):
        mixed(chess=1.0)
    with pytest.raises(ValueError, match="env.weights must be 0 or more, finite, and not all 0"):
        mixed(countdown=0.0)
    for weight in (math.nan, math.inf):
        with pytest.raises(ValueError, match="env.weights must be 0 or more, finite"):
            mixed(countdown=weight, multiplication=1.0)


def test_tasks_of_a_mix_have_names_of_their_own_by_which_problems_find_their_checker():
    parts = {"a": Questions("jsonl", path="a.jsonl"), "b": Questions("jsonl", path="b.jsonl", grader="latex")}
    with pytest.raises(ValueError, match="env.parts must be tasks with different names"):
        Mixed(parts, {"a": 1.0, "b": 1.0})


def test_tasks_that_share_problems_evaluate_each_of_them_once():
    few = Countdown(name="few", num_numbers=[2], max_number=20, max_target=40, operations="+")
    more = Countdown(name="more", num_numbers=[2], max_number=22, max_target=44, operations="+")
    env = Mixed({"a": few, "b": more}, {"a": 1.0, "b": 1.0})
    assert {p.key for p in few.eval_set(10)} & {p.key for p in more.eval_set(10)}
    problems = env.eval_set(20)
    assert len({p.key for p in problems}) == 20 and Counter(p.env for p in problems) == {"few": 10, "more": 10}
    with pytest.raises(ValueError, match="these settings of env more have only about"):
        env.eval_set(60)


def test_a_record_names_its_task_as_the_problems_of_the_task_do():
    env = Mixed({"a": Countdown(name="few", num_numbers=[3]), "b": Multiplication()}, {"a": 1.0, "b": 1.0})
    problem = env.parts["a"].eval_set(1)[0]
    assert env.read({**problem.fields, "env": problem.env}).env == "few"


@pytest.mark.parametrize("env", [["countdown"], None, 3, "chess"])
def test_a_record_names_its_task(env):
    with pytest.raises(ValueError, match="field env must be one of countdown, multiplication"):
        mixed(countdown=1.0, multiplication=1.0).read({"env": env, "completion": ""})


def rows(start, stop):
    return "".join(
        json.dumps({"question": f"What is {i} + 1?", "answer": f"{i + 1}"}) + "\n" for i in range(start, stop)
    )


def overlapping(folder):
    """A folder with 40 problems, 10 of them held out, and a file with 5 of either kind and 30 others."""
    (folder / "train.jsonl").write_text(rows(0, 30))
    (folder / "test.jsonl").write_text(rows(30, 40))
    (folder / "own.jsonl").write_text(rows(25, 35) + rows(40, 70))
    return Questions("folder", path=str(folder)), Questions("own", path=str(folder / "own.jsonl"), eval_fraction=0.5)


def test_a_problem_that_one_task_holds_out_is_never_drawn_for_training_from_another(tmp_path):
    folder, own = overlapping(tmp_path)
    env = Mixed({"a": folder, "b": own}, {"a": 1.0, "b": 1.0})
    held_out = {p.key for task in (folder, own) for p in task.problems("test")}
    trained = {(p.env, p.key) for p in (env.problem(0, "train", index) for index in range(1000))}
    expected = {(p.env, p.key) for task in (folder, own) for p in task.problems("train") if p.key not in held_out}
    assert trained == expected
    assert all(any(p.key in held_out for p in task.problems("train")) for task in (folder, own))  # both lose some


def test_the_training_problems_of_a_mix_that_no_task_holds_out_stay_where_they_are(tmp_path):
    folder, own = overlapping(tmp_path)
    env = Mixed({"a": folder, "b": own}, {"a": 1.0, "b": 1.0})
    for index in range(200):
        problem = env.problem(3, "train", index)
        drawn = {"folder": folder, "own": own}[problem.env].problem(3, "train", index)
        assert problem == drawn or drawn.key in env.held_out_keys


def test_a_task_whose_training_problems_are_all_held_out_by_another_is_refused(tmp_path):
    folder, _ = overlapping(tmp_path)
    (tmp_path / "held_out.jsonl").write_text(rows(0, 30))
    other = Questions("other", path=str(tmp_path / "held_out.jsonl"), eval_fraction=1)
    parts = {"a": folder, "b": other}
    assert Mixed(parts, {"a": 1.0, "b": 0.0}).problem(0, "train", 0).env == "folder"
    env = Mixed(parts, {"a": 1.0, "b": 1e-9})
    with pytest.raises(ValueError, match="env.parts.a: the training problems are held-out problems of other tasks"):
        env.problem(0, "train", 0)


def test_tasks_that_draw_their_problems_agree_on_the_split_of_a_problem_that_they_share():
    few = Countdown(name="few", num_numbers=[2], max_number=20, max_target=40, operations="+")
    more = Countdown(name="more", num_numbers=[2], max_number=22, max_target=44)
    env = Mixed({"a": few, "b": more}, {"a": 1.0, "b": 1.0})
    assert not {env.problem(0, "train", i).key for i in range(2000)} & {p.key for p in env.eval_set(40)}
    assert not env.held_out_keys

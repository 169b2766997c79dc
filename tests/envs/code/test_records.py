"""Problems from files in the format of MBPP and HumanEval."""

import json
import logging
from pathlib import Path

import pytest

from envs.code.records import read_fields
from envs.code.task import Code

FIXTURES = Path(__file__).parent / "fixtures"
MBPP, HUMANEVAL = FIXTURES / "mbpp.jsonl", FIXTURES / "humaneval.jsonl"


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_literal_mbpp_tests_become_data():
    fields = read_fields(records(MBPP)[1])
    assert fields["function"] == "longest_side" and fields["compare"] == "equal"
    assert fields["tests"] == [{"args": [3, 4], "expected": 5}]
    assert fields["asserts"] == "assert math.isclose(longest_side(1, 1), 1.414, rel_tol=0.001)"
    assert "For example: assert longest_side(3, 4) == 5" in fields["question"] and "isclose" not in fields["question"]


def test_literal_humaneval_tests_become_data():
    plain, mixed = map(read_fields, records(HUMANEVAL))
    assert plain["asserts"] == "" and [test["expected"] for test in plain["tests"]] == [True, False, True]
    assert mixed["tests"] == [{"args": [[4, 2]], "expected": -2}] and mixed["asserts"].endswith("check(root_of)\n")


@pytest.mark.parametrize("path", [MBPP, HUMANEVAL])
def test_the_solutions_of_a_file_pass_and_other_answers_fail(path):
    env = Code(path=str(path))
    problems = [env.problem(0, split, i) for split in ("train", "test") for i in range(4) if has(env, split)]
    assert problems
    for problem in {problem.key: problem for problem in problems}.values():
        assert env.check(problem, problem.answer).correct, env.check(problem, problem.answer)
        name = problem.fields["function"]
        assert not env.check(problem, f"def {name}(*a): return 17").correct
        assert not env.check(problem, f"class A:\n    __eq__ = lambda s, o: True\ndef {name}(*a): return A()").correct


def has(env, split):
    try:
        env.problem(0, split, 0)
    except ValueError:
        return False
    return True


def test_malformed_lines_are_reported_and_duplicates_removed(caplog):
    with caplog.at_level(logging.WARNING):
        env = Code(path=str(MBPP), time_limit=3.5)
        keys = {env.problem(0, split, i).key for split in ("train", "test") if has(env, split) for i in range(9)}
    assert len(keys) == 4
    assert "skipped 4 of 9 records" in caplog.text
    for line in (
        "line 4: unknown format",
        "line 5: not JSON",
        "line 6: not a JSON object",
        "line 7: the asserts",
    ):
        assert line in caplog.text


def test_a_folder_keeps_its_splits_without_problems_of_both(tmp_path):
    lines = MBPP.read_text().splitlines()
    (tmp_path / "train.jsonl").write_text("\n".join([lines[0], lines[1]]))
    (tmp_path / "test.jsonl").write_text("\n".join([lines[2], lines[7]]))
    env = Code(path=str(tmp_path))
    train = {env.problem(0, "train", i).key for i in range(9)}
    held_out = {problem.key for problem in env.eval_set(2)}
    assert len(train) == 1 and len(held_out) == 2 and not train & held_out
    with pytest.raises(ValueError, match="num_problems=3: env code has only 2"):
        env.eval_set(3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "unknown format: needs function and tests"),
        ({"function": "f x", "tests": [1]}, "not a valid function name"),
        ({"function": "f", "tests": []}, "at least one test"),
        ({"function": "f", "tests": [{"args": 1, "expected": 2}]}, "test 1 must have args"),
        ({"function": "f", "tests": [{"args": [{"x": 1}], "expected": 2}]}, "not plain data"),
        ({"function": "f", "tests": [{"args": [], "expected": 2}], "compare": "fuzzy"}, "compare must be one of"),
        ({"text": "t", "code": "def f(): pass", "test_list": []}, "test_list is empty"),
        ({"text": "t", "code": "def f(): pass", "test_list": ["assert g() == 1"]}, "call no function"),
        ({"text": "t", "code": "def f(:", "test_list": ["assert f() == 1"]}, "cannot be parsed"),
        ({"text": "t", "test_list": ["assert f() == 1"]}, "no field code"),
        ({"entry_point": "f", "prompt": "def f(): ''", "test": "x = 1"}, "does not define check"),
    ],
)
def test_malformed_records_are_rejected_with_a_reason(fields, message):
    with pytest.raises(ValueError, match=message):
        Code().read(fields)

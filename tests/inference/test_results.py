import json

import pytest

from grpo.types import Problem, Score
from inference.results import ProblemRow, Results, problem_row, summarize
from inference.types import Candidate, StrategyOutput

PROBLEM = Problem("countdown", "1 2 3 -> 6", "make 6", "1 + 2 + 3", {})


def candidate(answer: str) -> Candidate:
    return Candidate(f"</think> <answer> {answer} </answer>", (1, 2, 3), (-1.0, None, -0.5), "stop")


def row(*correct: bool, answers: str = "", tokens: int = 12) -> ProblemRow:
    """The row of a problem whose completions have these one-letter answers; the first is chosen."""
    candidates = tuple(candidate(letter) for letter in answers or "a" * len(correct))
    return problem_row(
        PROBLEM, StrategyOutput(candidates[0], candidates, tokens=tokens), [Score(float(c), c, {}, "") for c in correct]
    )


def test_a_row_has_all_completions_and_their_cost():
    found = row(True, False, answers="ab")
    assert found["key"] == "1 2 3 -> 6" and found["correct"] is True and found["tokens"] == 12
    assert found["chosen"] == 0
    assert [one["answer"] for one in found["candidates"]] == ["a", "b"]
    assert found["candidates"][0]["logprob"] == -1.5 and found["candidates"][0]["tokens"] == 3
    assert found["candidates"][0]["forced_tokens"] == 1


def test_summary_by_hand():
    # Two problems with 1 of 2 and 0 of 2 correct samples, whose votes are a b and c c.
    rows = [row(True, False, answers="ab", tokens=10), row(False, False, answers="cc", tokens=20)]
    found = summarize(rows, independent=True)
    assert found["accuracy"]["mean"] == 0.5 and found["tokens_per_problem"] == 15
    assert found["pass_at"][1]["mean"] == 0.25 and found["pass_at"][2]["mean"] == 0.5
    # The tie of a and b counts half.
    assert found["majority_at"][2]["mean"] == 0.25
    assert summarize(rows, independent=False)["pass_at"] == {}
    assert list(summarize([row(True, False, False)], independent=True)["majority_at"]) == [1, 2, 3]  # all of them, too


def test_failures_of_the_grader_are_counted():
    failed = Score(0.0, False, {}, "the grader failed", error="died")
    found = problem_row(PROBLEM, StrategyOutput(candidate("a"), (candidate("a"),), tokens=3), [failed])
    assert found["correct"] is False and found["candidates"][0]["error"] == "died"
    assert summarize([found, row(True)], independent=False)["grader_errors"] == 1


def test_an_interrupted_evaluation_resumes_without_its_incomplete_last_line(tmp_path):
    results = Results(tmp_path, "greedy")
    assert results.open({"seed": 0}) == {}
    results.add(row(True) | {"key": "one"})
    with results.lines.open("a") as file:
        file.write('{"key": "tw')
    assert set(Results(tmp_path, "greedy").open({"seed": 0})) == {"one"}
    results.add(row(False) | {"key": "two"})
    assert set(Results(tmp_path, "greedy").open({"seed": 0})) == {"one", "two"}
    assert all(json.loads(line) for line in results.lines.read_text().splitlines())


def test_the_summary_of_rows_that_were_removed_is_removed_too(tmp_path):
    results = Results(tmp_path, "greedy")
    results.open({"seed": 0})
    results.write_summary({"accuracy": 1.0})
    Results(tmp_path, "greedy").open({"seed": 0})
    assert results.summary.is_file()
    results.lines.unlink()
    Results(tmp_path, "greedy").open({"seed": 1})
    assert not results.summary.exists()


@pytest.mark.parametrize("line", [b"5", b'{"key": "one"}', b'{"key": "one", "correct": "\xff"}', b"{"])
def test_a_damaged_line_is_named_and_not_passed_over(tmp_path, line):
    results = Results(tmp_path, "greedy")
    results.open({"seed": 0})
    with results.lines.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match="greedy.jsonl:2 (is empty or damaged|has no .*); remove this line, and run"):
        Results(tmp_path, "greedy").open({"seed": 0})


def test_an_incomplete_last_line_may_end_within_a_character(tmp_path):
    results = Results(tmp_path, "greedy")
    results.open({"seed": 0})
    whole = results.lines.read_bytes()
    results.lines.write_bytes(whole + '{"key": "é'.encode()[:-1])
    assert Results(tmp_path, "greedy").open({"seed": 0}) == {} and results.lines.read_bytes() == whole


def test_the_cost_of_several_starts_is_summed(tmp_path):
    first = Results(tmp_path, "greedy")
    first.open({})
    first.add_spent(10.0, 6.0, 300, 0.5)
    second = Results(tmp_path, "greedy")
    assert second.open({}) == {}
    second.add_spent(2.0, 1.0, 50, 0.25)
    assert second.total_spent == {"seconds": 12.0, "generating_seconds": 7.0, "tokens": 350, "usd": 0.75}


def test_results_of_different_settings_are_refused(tmp_path):
    Results(tmp_path, "greedy").open({"seed": 0, "n": 8})
    with pytest.raises(ValueError, match="was written with n=8, now n=16; choose another name=NAME"):
        Results(tmp_path, "greedy").open({"seed": 0, "n": 16})

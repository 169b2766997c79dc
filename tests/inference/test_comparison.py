"""Comparisons of constructed results."""

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from inference.__main__ import main
from inference.comparison import (
    SavedEvaluation,
    comparison_table,
    compute_optimal_by_bins,
    curves,
    difficulty_bins,
)
from inference.results import ProblemRow, Results, summarize

PROBLEMS = 40
ROOT = Path(__file__).parents[2]


def write(folder: Path, name: str, right, tokens: int, samples: int = 1, strategy: str | None = None):
    """Write an evaluation of problems 0..39; right(problem, sample) determines which completions are correct."""
    settings = {"strategy": {"name": strategy or ("sample" if samples > 1 else "greedy"), "verifier": "oracle"}}
    results = Results(folder, name)
    results.open(settings)
    rows = []
    for problem in range(PROBLEMS):
        drawn = [
            {
                "answer": "right" if right(problem, sample) else f"wrong {sample}",
                "correct": right(problem, sample),
                "error": None,
                "tokens": tokens,
                "logprob": -problem * tokens / 10,  # certainty falls with the problem number
            }
            for sample in range(samples)
        ]
        row = {"key": str(problem), "correct": drawn[0]["correct"], "tokens": tokens * samples, "candidates": drawn}
        rows.append(cast(ProblemRow, row | {"problem_sha256": "", "chosen": 0, "rounds": 1, "details": {}}))
        results.add(rows[-1])
    results.add_spent(9.0, 5.0, tokens * samples * PROBLEMS, 0.0)
    results.write_summary({"settings": settings, "spent": results.total_spent} | summarize(rows, samples > 1))
    return SavedEvaluation(folder / f"{name}.json")


def test_evaluations_of_the_same_strategy_are_told_apart(tmp_path, monkeypatch, capsys):
    for run, right in (("a", 20), ("b", 26)):
        (tmp_path / run / "eval").mkdir(parents=True)
        write(tmp_path / run / "eval", "greedy-seed0", lambda problem, _, right=right: problem < right, 10)
    paths = [str(tmp_path / run / "eval/greedy-seed0.json") for run in ("a", "b")]
    monkeypatch.setattr(sys, "argv", ["inference", *paths, "--output", str(tmp_path / "scaling.png")])
    main()
    table = capsys.readouterr().out
    assert "| a/eval/greedy-seed0 |" in table and "| b/eval/greedy-seed0 |" in table
    assert (tmp_path / "scaling.png").is_file()


def test_the_rows_of_an_evaluation_are_not_taken_for_a_damaged_summary(tmp_path):
    write(tmp_path, "greedy", lambda *_: True, 10)
    with pytest.raises(ValueError, match=r"greedy.jsonl is not the summary of an evaluation; give eval/NAME.json of"):
        SavedEvaluation(tmp_path / "greedy.jsonl")


def test_the_table_compares_each_evaluation_to_the_first(tmp_path):
    half = write(tmp_path, "half", lambda problem, _: problem < 20, 10)
    most = write(tmp_path, "most", lambda problem, _: problem < 26, 30)
    *_, first, second = comparison_table([half, most]).splitlines()
    assert first.startswith("| half | 40 | 50.0% |") and first.endswith("| 10 | 5 | | |")
    # 6 of 40 problems differ, all in the same direction: two of 2^6 sign flips are as far from 0.
    assert "| 65.0% |" in second and "+15.0 (" in second and second.endswith("| 0.031 |")


def test_evaluations_of_different_problems_are_refused(tmp_path):
    one = write(tmp_path, "one", lambda *_: True, 10)
    other = write(tmp_path, "other", lambda *_: True, 10)
    other.rows.pop("3")
    with pytest.raises(ValueError, match="the same problems, got '3'"):
        comparison_table([one, other])


def test_difficulty_by_ground_truth_and_by_certainty(tmp_path):
    # Problem p is correct in 4 - p // 10 of 4 samples, and the certainty falls with p.
    sampled = write(tmp_path, "sample-4", lambda problem, sample: sample < 4 - problem // 10, 10, samples=4)
    bins = difficulty_bins(sampled)
    assert [bins["predicted"][str(problem)] for problem in (0, 7, 8, 39)] == [1, 1, 2, 5]
    # Ten problems have the same share of correct samples, and a level has eight problems.
    assert {bins["oracle"][str(problem)] for problem in range(30, 40)} == {4, 5}


def test_forced_tokens_do_not_count_as_certain(tmp_path):
    sampled = write(tmp_path, "sample-4-direct", lambda *_: True, 10, samples=4)
    for problem in range(8):  # the easiest level: two sampled tokens with the log-probabilities of ten are less certain
        for candidate in sampled.rows[str(problem)]["candidates"]:
            candidate["logprob"], candidate["forced_tokens"] = -10.0, 8
    predicted = difficulty_bins(sampled)["predicted"]
    assert {predicted[str(problem)] for problem in range(8)} == {5}


def test_each_difficulty_level_gets_its_best_strategy_within_the_budget(tmp_path):
    cheap = write(tmp_path, "cheap", lambda problem, _: problem < 8, 10)
    costly = write(tmp_path, "costly", lambda problem, _: problem >= 8, 100)
    oracle = write(tmp_path, "best_of_n-1-oracle", lambda *_: True, 10, strategy="best_of_n")
    bins = {"predicted": {str(problem): 1 + problem // 8 for problem in range(PROBLEMS)}}
    spent = compute_optimal_by_bins([cheap, costly, oracle], bins)["predicted"]
    assert [one.budget for one in spent] == [10, 100]
    # At budget 10, 8 of 40 are correct. At 100 the easiest level keeps the cheap strategy, the others use the costly.
    assert spent[0].accuracy == pytest.approx(0.2)
    assert spent[1].accuracy == pytest.approx(1.0) and spent[1].tokens == pytest.approx((8 * 10 + 32 * 100) / 40)


def test_majority_voting_over_subsets_of_the_samples_is_a_strategy(tmp_path):
    sampled = write(tmp_path, "sample-4", lambda problem, sample: sample < 2, 10, samples=4)
    assert sampled.majority(1)["0"] == (pytest.approx(0.5), 10)
    # Two votes for the correct answer against one each for two wrong ones.
    assert sampled.majority(4)["0"] == (1.0, 40)
    names = [curve.name for curve in curves([sampled], {}, {})]
    assert names == ["sample-4", "majority@k", "pass@k"]


def test_the_command_prints_both_tables_and_writes_the_picture(tmp_path):
    write(tmp_path, "greedy", lambda problem, _: problem < 20, 10)
    write(tmp_path, "sample-4", lambda problem, sample: sample < 4 - problem // 10, 10, samples=4)
    write(tmp_path, "other-4", lambda problem, sample: sample < 4 - problem // 10, 10, samples=4)
    files = [str(tmp_path / f"{name}.json") for name in ("greedy", "sample-4")]
    more = ["--difficulty", str(tmp_path / "other-4.json"), "--output", str(tmp_path / "scaling.png")]
    done = subprocess.run(
        [sys.executable, "-m", "inference", *files, *more], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| oracle | 10 |" in done.stdout and "| predicted | 40 |" in done.stdout
    assert (tmp_path / "scaling.png").stat().st_size > 10_000

import json
import math

import pytest

from conf.reproduce import TermConfig
from tests.tools.reproduce.made_claims import claim, comparison, experiment
from tools.reproduce.effects import Verdict
from tools.reproduce.results import all_results, claim_result, comparison_result


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")


def test_a_comparison_is_paired_by_seed_and_problem():
    # 3 of 4 problems are solved after RL and 1 before, so two of four differ by 1: mean 0.5. The seeds are equal, and
    # the mean square of the problems is 2 (4 x 0.25) / 3 = 2/3: the error is sqrt(2/3 / 8), with 1 degree of freedom.
    found = comparison_result(comparison(), experiment())
    effect = found["effect"]
    assert effect["mean"] == 0.5 and (effect["seeds"], effect["problems"], effect["freedom"]) == (2, 4, 1)
    assert effect["high"] - effect["mean"] == pytest.approx(12.7062 * math.sqrt(1 / 12), abs=1e-4)
    assert [(arm["name"], arm["mean"]) for arm in found["arms"]] == [("zero", 0.75), ("base", 0.25)]
    assert found["verdict"] is Verdict.UNDECIDED


def test_the_bound_decides():
    assert comparison_result(comparison(at_least=-3.5), experiment())["verdict"] is Verdict.HOLDS
    assert comparison_result(comparison(at_least=4.5), experiment())["verdict"] is Verdict.REFUTED
    assert comparison_result(comparison(at_least=None), experiment())["verdict"] is None


def test_a_term_can_have_a_measure_of_its_own():
    vote = TermConfig("evaluate_zero", 1.0, "majority", {"k": 4})
    found = comparison_result(comparison(effect=[vote, TermConfig("evaluate_zero", -1.0)]), experiment())
    assert found["effect"]["mean"] == 0.0 and found["arms"][0]["name"] == "zero, majority 4"


def test_a_claim_whose_stages_have_not_finished_has_not_been_run():
    found = claim_result(claim(comparison()), {"reproduce": experiment(until="zero")})
    assert found["verdict"] is Verdict.NOT_RUN and found["curves"] == []
    assert found["comparisons"][0]["effect"] is None


def test_curves_have_a_line_for_each_stage():
    [curve] = claim_result(claim(comparison()), {"reproduce": experiment()})["curves"]
    points = [(point["x"], point["mean"]) for point in curve["lines"]["evaluate_zero"]]
    assert points == [(1, 0.75), (2, 0.75), (4, 0.75)] and set(curve["lines"]) == {"evaluate_zero", "evaluate_base"}


def test_a_claim_that_holds_if_any_comparison_does_has_wider_intervals():
    one, two = comparison(), comparison("again")
    experiments = {"reproduce": experiment()}
    assert claim_result(claim(one, two, combine="any"), experiments)["confidence"] == pytest.approx(0.975)
    assert claim_result(claim(one, two), experiments)["confidence"] == 0.95


def test_a_claim_that_one_of_two_comparisons_refutes_needs_a_wider_interval_to_be_refuted():
    # With one degree of freedom, the interval of the first test extends to 0.5 + 12.706 x sqrt(1 / 12) = 4.17, and of
    # two comparisons to 0.5 + 25.452 x sqrt(1 / 12) = 7.85.
    experiments = {"reproduce": experiment()}
    for at_least, alone, of_two in ((5.0, Verdict.REFUTED, Verdict.UNDECIDED), (8.0, Verdict.REFUTED, Verdict.REFUTED)):
        one, other = comparison(at_least=at_least), comparison("again", at_least=-8.0)
        assert claim_result(claim(one), experiments)["verdict"] is alone
        found = claim_result(claim(one, other), experiments)
        assert found["verdict"] is found["comparisons"][0]["verdict"] is of_two
        assert found["comparisons"][0]["effect"]["high"] == pytest.approx(4.168, abs=1e-3)
    either = claim_result(claim(one, comparison("again", at_least=7.0), combine="any"), experiments)
    verdicts = [each["verdict"] for each in either["comparisons"]]
    assert verdicts == [Verdict.REFUTED, Verdict.UNDECIDED] and either["verdict"] is Verdict.UNDECIDED


def test_a_comparison_can_read_another_pipeline():
    other = comparison(at_least=None, pipeline="other")
    both = claim(comparison(), other)
    assert both.stages == ["evaluate_zero", "evaluate_base"] and claim(other, comparison()).stages == both.stages
    found = claim_result(both, {"reproduce": experiment(until="evaluate_base"), "other": experiment(seeds=1)})
    assert found["verdict"] is Verdict.NOT_RUN and found["minutes"] == 60  # of `reproduce` alone: a stage for each seed
    own, read = found["comparisons"]
    assert own["effect"] is None and (read["effect"]["mean"], read["effect"]["seeds"]) == (0.5, 1)


def test_the_results_are_json_and_count_what_all_stages_cost():
    results = json.loads(json.dumps(all_results({"made": claim(comparison())}, {"reproduce": experiment()})))
    # The claim reads two evaluations, and needs the run between them: 3 stages of half an hour for each of two seeds.
    assert results["seeds"] == [0, 1] and results["minutes"] == pytest.approx(180)
    assert results["claims"]["made"]["usd"] == pytest.approx(3 * 0.2)
    assert results["claims"]["made"]["kwh"] == pytest.approx(3 * 0.05)
    assert results["claims"]["made"]["verdict"] == "undecided"

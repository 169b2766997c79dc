"""docs/reproduction.md and the page, made from results."""

import json
from pathlib import Path

import pytest

from conf.compose import compose_claims
from tests.report.test_report_in_browser import browse
from tests.tools.reproduce.made_claims import claim, comparison, experiment
from tools.reproduce.docs import PAGE, RESULTS, body, replaced
from tools.reproduce.page import write_page
from tools.reproduce.picture import rows_of
from tools.reproduce.results import all_results


@pytest.fixture
def made(tmp_path, monkeypatch, request):
    """Results of a claim that holds, one that is refuted and one that has not been run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")
    claims = {
        "held": claim(comparison(at_least=-3.5), comparison("shown", at_least=None)),
        "failed": claim(comparison(at_least=4.5)),
    }
    return claims, json.loads(json.dumps(all_results(claims, {"reproduce": experiment()})))


def test_the_page_of_the_documentation_is_made_from_the_stored_results():
    page, results = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))
    assert page == replaced(page, body(results, compose_claims())), "run: python -m tools.reproduce.docs"
    for name, found in results["claims"].items():
        assert not rows_of(found) or (PAGE.parent / f"reproduction_{name}.png").is_file()


def test_every_claim_has_its_verdict_and_figures_in_the_text(made):
    claims, results = made
    text = body(results, claims | {"later": claim(comparison())})
    assert "**Verdict: holds.**" in text and "**Verdict: refuted.**" in text and "**Verdict: not run.**" in text
    assert "| RL against the base | zero 75.0%, base 25.0% | +50.0 points | " in text
    assert "| at least -350.0 points | holds |" in text
    assert "| shown | zero 75.0%, base 25.0% | +50.0 points |" in text and "shown only |" in text
    assert text.count("What could change the verdict") == 1  # for the refuted one
    assert "with seeds 0, 1 on a machine" in text
    assert "with seed 0 on a machine" in body(results | {"seeds": [0]}, claims)


def test_results_without_a_run_show_every_claim_as_not_run():
    text = body({"seeds": [], "claims": {}}, compose_claims())
    assert text.count("**Verdict: not run.**") == 12 and "reproduction.png" not in text


def test_a_page_without_the_comments_is_refused():
    with pytest.raises(ValueError, match="must contain the lines"):
        replaced("# Reproduction", "text")


def test_the_page_shows_the_verdicts_and_loads_nothing(made):
    _, results = made
    page = write_page(Path.cwd(), results)
    dom, console = browse(page)
    assert console == [] and 'data-ready="yes"' in dom
    assert "claims that hold" in dom and "zero 75.0%" in dom and "+50.0" in dom
    assert dom.count("data:image/svg+xml") == 3  # all effects, and a figure for each claim
    assert "shown only" in dom and dom.count('class="state bad"') >= 1


def test_the_page_of_a_run_without_results(made):
    claims, _ = made
    page = write_page(
        Path.cwd(), json.loads(json.dumps(all_results(claims, {"reproduce": experiment(until="evaluate_base")})))
    )
    dom, console = browse(page)
    assert console == [] and "Nothing has been run yet." in dom and "It has not been run." in dom

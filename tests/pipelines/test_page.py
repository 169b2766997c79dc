import json
import re

import pytest

from conf.pipelines import StageConfig
from pipelines.ledger import Ledger
from pipelines.page import write_report
from pipelines.transcripts import choose, read_transcripts
from tests.made_pipeline import HELD_OUT, finish, small_pipeline
from tests.made_run import HOSTILE
from tests.report.test_report_in_browser import browse

ACCURACY = {"evaluate_base": 0.25, "evaluate_zero": 0.5, "evaluate_tuned": 0.75}


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")


def made(last="evaluate_tuned", overrides=None, **more):
    """The ledger of a small pipeline whose stages up to `last` have finished, in 90 s each."""
    pipeline = small_pipeline(overrides=overrides or {})
    ledger = Ledger(pipeline)
    for name in pipeline.stages:
        record = ledger.check(name)
        finish(record.command[0], record.command[1:], ACCURACY.get(name, 0.0), **more)
        record.seconds = 90.0
        if name == last:
            return ledger
    raise AssertionError(last)


def summary_of(ledger):
    write_report(ledger)
    return json.loads((ledger.pipeline.folder / "summary.json").read_text())


def test_the_summary_has_the_figures_of_every_stage_and_of_all():
    summary = summary_of(made())
    stages = summary["stages"]
    assert list(stages) == ["base", "zero", "rows", "tuned", "evaluations"]
    assert [stages[name]["accuracy"]["pass_at_1"]["mean"] for name in ("base", "zero", "tuned")] == [0.25, 0.5, 0.75]
    assert stages["zero"]["accuracy"]["majority"]["mean"] == pytest.approx(0.55)
    assert stages["zero"]["accuracy"]["samples"] == 4 and stages["zero"]["accuracy"]["length"] == 20
    assert stages["rows"] | {"rows": 1, "tokens": 500, "arm": "SFT"} == stages["rows"]
    assert stages["tuned"]["takes"] == "base, on rows" and len(stages["tuned"]["weights_sha256"]) == 64
    assert stages["evaluations"]["minutes"] == pytest.approx(4.5)
    assert summary["minutes"] == pytest.approx(6 * 1.5)
    assert summary["tokens"] == 1000 + 500 + 1000 + 3 * 320
    assert summary["usd"] == pytest.approx(0.25 + 0.05 + 0.25 + 3 * 0.1)


def test_an_unfinished_pipeline_has_a_page_too():
    summary = summary_of(made(last="rows"))
    assert summary["stages"]["tuned"]["state"] == "not started" and summary["stages"]["tuned"]["accuracy"] is None
    assert summary["stages"]["evaluations"]["state"] == "2 of 3"
    dom, console = browse(write_report(made(last="rows")).resolve())
    assert console == [] and "2 of 3 stages finished" in dom


def test_stages_that_another_command_has_run_stay_on_the_page():
    made().write()
    ledger = Ledger(small_pipeline(only=["zero"]))
    assert list(ledger.pipeline.stages) == ["zero"]
    assert list(summary_of(ledger)["stages"]) == ["base", "zero", "rows", "tuned", "evaluations"]


def test_stages_that_have_run_with_other_settings_are_not_on_the_page_of_the_new_ones():
    made().write()
    ledger = Ledger(small_pipeline(only=["zero"], overrides={"sft": ["epochs=2"]}))
    assert "tuned" not in summary_of(ledger)["stages"] and "zero" in summary_of(ledger)["stages"]
    assert "tuned" in ledger.records  # which the command keeps


def test_mixed_scripts_are_counted_in_the_thought():
    chinese = " 8 + 4 = 12 high 太大\n</think> <answer> 8 + 4 </answer>"
    assert summary_of(made(text=chinese))["stages"]["zero"]["accuracy"]["mixed"] == 1.0
    assert summary_of(made())["stages"]["zero"]["accuracy"]["mixed"] == 0.0


def test_samples_of_another_stage_cost_nothing_again():
    ledger = made(overrides={"traces": ["samples=outputs/small/zero"]})
    ledger.records["rows"].seconds = 1.2  # its summary has the 2 s that the samples took
    rows = summary_of(ledger)["stages"]["rows"]
    assert rows["tokens"] == 0 and rows["usd"] == 0 and rows["rows"] == 1
    assert rows["minutes"] == pytest.approx(0.02)


def test_majority_votes_are_compared_at_the_largest_size_that_all_have():
    ledger = made()
    path = ledger.pipeline.folder / "evaluate_tuned/eval/accuracy.json"
    summary = json.loads(path.read_text())
    interval = summary["majority_at"]["4"]
    summary["majority_at"] |= {"8": interval | {"mean": 0.99}}
    path.write_text(json.dumps(summary))
    stages = summary_of(ledger)["stages"]
    assert [stages[name]["accuracy"]["votes"] for name in ("base", "zero", "tuned")] == [4, 4, 4]
    assert stages["tuned"]["accuracy"]["majority"]["mean"] == interval["mean"]
    summary["majority_at"] = {"1": interval}  # a single sample has no vote
    path.write_text(json.dumps(summary))
    stages = summary_of(ledger)["stages"]
    assert stages["tuned"]["accuracy"]["majority"] is None and stages["zero"]["accuracy"]["majority"] is not None


def test_the_page_shows_accuracy_arms_and_the_same_problems_after_each_stage():
    dom, console = browse(write_report(made()).resolve())
    assert console == [] and 'data-ready="yes"' in dom and "3 of 3 stages finished" in dom
    assert "25.0% →" in dom and "75.0% (65.0% to 85.0%)" in dom and "majority@4" in dom
    assert "RL alone" in dom and "at_most_k" in dom and "train_sft.py model=tiny" in dom
    assert 'id="data"' not in dom  # which the script of the data has
    assert dom.count('class="stage-row"') == len(HELD_OUT) and dom.count('<span class="hit"') > 0


def test_the_page_loads_nothing_and_needs_no_plot_library():
    page = write_report(made()).read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page) and len(page) < 200_000


def test_text_written_by_a_model_stays_text():
    dom, console = browse(write_report(made(text=HOSTILE)).resolve())
    assert console == [] and 'data-ready="yes"' in dom
    assert "broken</title>" not in dom and "<img" not in dom and "&lt;img" in dom


def test_problems_that_were_learned_are_shown_first():
    def row(correct):
        return {"candidates": [{"correct": correct}]}

    first = {"a": row(True), "b": row(False), "c": row(False)}
    last = {"a": row(True), "b": row(False), "c": row(True)}
    assert choose(["a", "b", "c"], [first, last]) == ["c", "a", "b"]


def test_the_first_evaluation_of_a_model_is_in_its_row_and_all_are_counted():
    ledger = made()
    cfg = ledger.pipeline.cfg
    stages = {"one": StageConfig("evaluate", "zero"), "two": StageConfig("evaluate", "zero"), **cfg.stages}
    ledger = Ledger(small_pipeline(stages=stages))
    for name in ledger.pipeline.stages:
        record = ledger.check(name)
        finish(record.command[0], record.command[1:], {"one": 0.5, "two": 0.75}.get(name, 0.25))
    summary = summary_of(ledger)
    assert summary["stages"]["zero"]["accuracy"]["pass_at_1"]["mean"] == 0.5
    assert summary["stages"]["evaluations"]["state"] == "4 of 4"
    assert sorted(read_transcripts(ledger)["models"]) == ["base", "tuned", "zero"]


def test_the_same_problems_are_shown_for_models_that_are_evaluated_on_the_same_task():
    other = StageConfig("evaluate", "tuned", overrides=["env=multiplication"])
    ledger = Ledger(small_pipeline(stages={**small_pipeline().cfg.stages, "other": other}))
    for name in ledger.pipeline.stages:
        record = ledger.check(name)
        finish(record.command[0], record.command[1:], 0.5)
    shown = read_transcripts(ledger)
    assert shown["models"] == ["base", "zero"] and len(shown["problems"]) == len(HELD_OUT)

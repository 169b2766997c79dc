"""The report in a real browser: it renders, filters, and never executes text written by a model."""

import json
import re
import shutil
import subprocess

import pytest

from report import write_report
from tests.made_run import HOSTILE, make_run, sample, write_lines

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def browse(page, fragment=""):
    """(the DOM after all scripts have run, the messages on the console)."""
    if CHROMIUM is None:
        pytest.skip("requires chromium or chrome on the PATH")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", f"{page.as_uri()}#{fragment}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # Remove the embedded data, so that assertions see only what was rendered.
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL), console


def test_the_page_renders_and_filters(tmp_path):
    page = write_report([make_run(tmp_path / "run")])
    dom, console = browse(page, "step=2&kind=eval&verdict=correct&axis=tokens&open=all")
    assert console == [] and 'data-ready="yes"' in dom
    assert dom.count("main-svg") > 8 and "completion tokens" in dom and "25.0% →" in dom and "rose from 10%" in dom
    assert "2 of 28 samples" in dom and dom.count('<tr class="row open"') == 2
    assert '<span class="hit"' in dom and "Before and after" in dom
    assert (
        'role="img" aria-label="Accuracy; training from 20.0% to 50.0%; held out, sampled from 25.0% to 75.0%;' in dom
    )


def test_text_written_by_a_model_stays_text(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1)]
    for run in runs:
        rows = [sample(step, kind, HOSTILE, step > 0, HOSTILE, prompt=HOSTILE, reason=HOSTILE, behaviors=[HOSTILE])
                for step in (0, 4) for kind in ("eval", HOSTILE)]  # fmt: skip
        write_lines(run / "samples.jsonl", rows)
        texts = {"message": HOSTILE, "sample": HOSTILE}
        events = [{"kind": "aha", "name": "waits", "since": 1} | texts, {"kind": "alert", "name": HOSTILE} | texts]
        write_lines(run / "events.jsonl", [{"step": 3} | event for event in events])
        with (run / "config.yaml").open("a") as file:
            file.write("hostile: " + json.dumps(HOSTILE) + "\n")
    dom, console = browse(write_report(runs), "open=all&config=open")
    assert console == [] and 'data-ready="yes"' in dom
    assert "broken</title>" not in dom and "a and b" in dom and "<img" not in dom
    assert "Settings that differ" in dom and dom.count('class="detail"') == 8


def test_a_comparison_tells_many_runs_apart_and_shows_sampled_accuracy_first(tmp_path):
    """Without training accuracy, as in supervised fine-tuning."""
    runs = [make_run(tmp_path / f"run{i}", steps=3) for i in range(25)]
    for run in runs:
        rows = [{"step": 0, "eval/sampled": 0.25, "eval/greedy": 0.5}, {"step": 1, "eval/sampled": 0.75}]
        write_lines(run / "metrics.jsonl", rows)
    dom, console = browse(write_report(runs))
    looks = re.findall(r'data-run="\d+" data-dash="(\w+)" style="background: (.+?);"', dom)
    assert console == [] and len(set(looks)) == len(looks) == 25
    (accuracy,) = re.findall(r'<select aria-label="Accuracy">.*?</select>', dom)
    assert re.findall(r'selected="">([^<]+)<', accuracy) == ["held out, sampled"]


def test_a_task_without_a_trace_language_shows_no_tries_in_a_mixed_run(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [sample(0, "train", key, True, tries=tries) for key, tries in (("counted", 2), ("uncounted", None))]
    write_lines(run / "samples.jsonl", rows)
    dom, console = browse(write_report([run]))
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r'<tr class="row".*?</tr>', dom)]
    assert console == [] and [row[5] for row in cells] == ["2", "–"]


def test_a_run_without_results_renders_without_errors(tmp_path):
    run = make_run(tmp_path / "run", summary=False)
    for name in ("metrics.jsonl", "samples.jsonl", "events.jsonl"):
        (run / name).unlink()
    dom, console = browse(write_report([run]))
    assert console == [] and "No step has finished yet" in dom and "There are no samples yet." in dom

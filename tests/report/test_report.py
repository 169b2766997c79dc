"""The report: its contents, and its robustness against missing, torn and hostile input."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from report import picture, refresh_report, write_report
from report.__main__ import folders_of
from report.charts import phases, present_sections
from report.data import RunState, curves, differences, read_run
from report.figures import _with_unit, figures, head
from report.page import page_data, render, safe_json
from report.samples import Entry, choose, fair_quota, page_row, read_entries, stages, stratify
from run.files import distinct_names
from tests.made_run import HOSTILE, make_run, sample, write_lines

ROOT = Path(__file__).parent.parent.parent


def embedded(page):
    """The data embedded in the page, located as an HTML parser would locate it."""
    return json.loads(re.search(r'id="data">(.*?)</script', page, re.DOTALL)[1])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (999, "999"), (1000, "1k"), (999_400, "999k"), (999_600, "1M"), (999_999_999, "1B"), (12_345, "12.3k")],
)
def test_the_unit_of_a_figure_is_that_of_the_rounded_value(value, shown):
    assert _with_unit(value) == shown


def test_the_report_shows_the_figures_of_a_run(tmp_path):
    run = make_run(tmp_path / "one")
    path = write_report([run])
    assert path == run / "report.html" and not list(run.glob("*.writing"))
    page = path.read_text()
    (shown,) = embedded(page)["runs"]
    assert shown["figures"]["sampled accuracy, step 0"] == "25.0%"
    assert shown["figures"]["sampled accuracy, latest"] == "75.0%"
    assert shown["figures"]["greedy accuracy, latest"] == "50.0%"
    assert shown["figures"]["completion tokens"] == "4,000" and shown["figures"]["minutes of training"] == "0.2"
    assert shown["figures"]["cost"] == "$0.50" and shown["figures"]["tokens per dollar"] == "8,000"
    assert shown["state"] == "finished" and shown["facts"]["algorithm"] == "grpo"
    assert shown["curves"]["tokens"] == [0, 1000, 2000, 3000, 4000] and shown["curves"]["minutes"][2] == 0.1
    assert "weights/checksum" not in shown["curves"]["metrics"]
    # The page loads nothing from the network.
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page)


def test_a_page_that_is_missing_or_older_than_the_end_of_its_run_is_written_again(tmp_path):
    run = make_run(tmp_path / "one")
    page = run / "report.html"
    refresh_report(run)
    assert "25.0%" in page.read_text()
    page.write_text("the user's own")
    refresh_report(run)
    assert page.read_text() == "the user's own"
    end = (run / "summary.json").stat().st_mtime
    os.utime(page, (end - 1, end - 1))
    refresh_report(run)
    assert "25.0%" in page.read_text()


def test_a_run_that_was_killed_while_writing_a_line_is_shown_up_to_that_line(tmp_path):
    run = make_run(tmp_path / "killed", summary=False)
    for name in ("metrics.jsonl", "samples.jsonl"):
        with (run / name).open("a") as file:
            file.write('{"step": 5, "completion": "17 -')
    (run / "events.jsonl").write_text("no json\n[1]\n")
    read = read_run(run)
    assert len(read.rows) == 5 and read.events == [] and len(read_entries(read)) == 28
    assert [note.split(":")[0] for note in read.notes] == ["metrics.jsonl", "events.jsonl", "samples.jsonl"]
    assert read.state() is RunState.RUNNING
    written = max(path.stat().st_mtime for path in run.iterdir())
    assert read.state(now=written + 3600) is RunState.STOPPED
    assert write_report([run]).is_file()


def test_the_report_that_a_run_writes_when_it_is_interrupted_says_that_it_stopped(tmp_path):
    run = make_run(tmp_path / "stopped", summary=False)
    write_lines(run / "metrics.jsonl", [{"step": step, "time/step": 3.0} for step in range(2)])
    (shown,) = embedded(write_report([run], ended=True).read_text())["runs"]
    assert (shown["state"], shown["state_text"]) == ("stopped", "stopped early: 2 of 4 steps")
    (shown,) = embedded(write_report([run]).read_text())["runs"]
    assert shown["state_text"] == "running: 2 of 4 steps at the time of this report"


def test_a_run_is_finished_if_its_summary_covers_all_steps_or_tokens_of_its_config(tmp_path):
    run = make_run(tmp_path / "run")
    metrics, summary, config = run / "metrics.jsonl", run / "summary.json", run / "config.yaml"
    summary.write_text('{"steps": 2, "tokens": 2000}')
    assert read_run(run).state() is RunState.STOPPED  # as a budget ends it
    ended = summary.stat().st_mtime
    os.utime(metrics, (ended + 1, ended + 1))
    assert read_run(run).state(now=ended + 2) is RunState.RUNNING  # with a larger budget
    config.write_text(config.read_text() + "num_tokens: 2000\n")
    assert read_run(run).state() is RunState.FINISHED


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl", "samples.jsonl", "events.jsonl", "summary.json"])
def test_any_file_may_be_missing(tmp_path, missing):
    run = make_run(tmp_path / "run")
    (run / missing).unlink()
    assert embedded(write_report([run]).read_text())["runs"][0]["name"] == "run"


def test_a_run_with_only_its_first_evaluation(tmp_path):
    run = make_run(tmp_path / "run", summary=False)
    write_lines(run / "metrics.jsonl", [{"step": 0, "eval/sampled": 0.25, "eval/n": 4.0}])
    read = read_run(run)
    assert head(read)["headline"][0] == {
        "label": "held-out accuracy", "before": None, "after": "25.0%", "remark": "sampled, step 0, 4 problems"
    }  # fmt: skip
    assert figures(read)["greedy accuracy, latest"] is None and curves(read)["steps"] == [0]


def test_the_header_tells_what_its_figures_are_of(tmp_path):
    run = make_run(tmp_path / "run", summary=False)
    with (run / "config.yaml").open("a") as file:
        file.write("git: {commit: 0123456789abcdef, dirty: true}\n")
    evaluated = {"eval/sampled": 0.25, "eval/greedy": 0.25, "eval/n": 512.0}
    later = {"step": 1, "eval/sampled": 0.5, "eval/n": 128.0}
    write_lines(run / "metrics.jsonl", [{"step": 0, "time/step": 3.0, "rollout/tokens": 1500.0, **evaluated}, later])
    shown = head(read_run(run))
    remarks = {figure["label"]: figure["remark"] for figure in shown["headline"]}
    assert remarks["held-out accuracy"] == "sampled, step 1, 128 problems (512 at step 0)"
    assert remarks["greedy accuracy"] == "held out, step 0, 512 problems"
    assert remarks["completion tokens"] == "in 1 step"
    assert shown["facts"]["commit"] == "0123456789ab (modified)"


@pytest.mark.parametrize("odd", ["x", None, [1], True])
def test_values_of_another_type_count_as_missing(tmp_path, odd):
    run = make_run(tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    write_lines(run / "metrics.jsonl", [row | {"rollout/tokens": odd, "time/step": odd} for row in rows])
    (run / "summary.json").write_text(json.dumps({"steps": odd}))
    read = read_run(run)
    assert read.tokens == 0 and read.state(now=1e10) is RunState.STOPPED
    assert write_report([run]).is_file()


def test_nan_and_infinity_are_gaps_in_the_curves(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 0, "policy/kl": NaN, "reward/mean": Infinity, "time/step": 1.0}\n')
    assert "NaN" not in safe_json([float("nan")]) and safe_json({"a": float("inf")}) == '{"a":null}'
    assert embedded(write_report([run]).read_text())["runs"][0]["curves"]["metrics"] == {"time/step": [1.0]}


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"RUN=.*nothing contains neither metrics.jsonl nor config.yaml; give"):
        write_report([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="RUN is empty"):
        write_report([])


def test_a_name_refers_to_outputs_first_and_a_sweep_stands_for_its_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, sweep = Path("outputs/mine"), Path("outputs/sweeps/lr")
    make_run(mine), make_run(sweep / "b"), make_run(sweep / "a")
    assert folders_of("mine") == [mine] and folders_of("outputs/mine") == [mine]
    assert folders_of("sweeps/lr") == [sweep / "a", sweep / "b"]


def test_two_runs_are_compared(tmp_path):
    runs = [make_run(tmp_path / "a", seed=0), make_run(tmp_path / "b", seed=1, steps=3)]
    path = write_report(runs)
    assert path == tmp_path / "report.html"
    data = embedded(path.read_text())
    assert [run["name"] for run in data["runs"]] == ["a", "b"]
    assert data["differences"] == [{"key": "num_steps", "values": [4, 3]}, {"key": "seed", "values": [0, 1]}]
    assert {row["run"] for row in data["samples"]["rows"]} == {0, 1}
    assert write_report([runs[0], runs[0]], tmp_path / "same.html").is_file()
    (tmp_path / "pipeline.json").touch()  # a pipeline's own page is report.html
    assert write_report(runs) == tmp_path / "runs.html"


def test_names_are_the_shortest_distinct_suffixes():
    assert distinct_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/a"), Path("/y/a")]) == ["x/a", "y/a"]


def test_a_setting_missing_from_one_run_is_a_difference():
    assert differences([{"run": "a", "x": 1}, {"run": "b"}]) == [{"key": "x", "values": [1, None]}]


def test_samples_are_selected_evenly_over_steps():
    # 5 + 5 + 2 of strata of 10, 7 and 2 fit into 12
    assert fair_quota([10, 7, 2], 12) == 5 and fair_quota([1, 1], 10) == 1 and fair_quota([], 3) == 0
    strata = stratify([Entry(i, i // 10, "train", "k", False) for i in range(100)])
    assert [entry.offset for entry in choose(strata, 20)] == [10 * step + i for step in range(10) for i in (0, 1)]
    assert [entry.step for entry in choose(strata, 5)] == [0, 2, 4, 6, 9]  # of the first to the last step


def test_curves_and_alerts_of_a_long_run_are_limited(tmp_path):
    run = make_run(tmp_path / "run")
    shares = [{"reflection/n": 256.0, "reflection/waits": 0.9 if step >= 3 else 0.1} for step in range(9001)]
    rows = [{"step": step, "eval/sampled": 0.5, "time/step": 1.0, **share} for step, share in enumerate(shares)]
    write_lines(run / "metrics.jsonl", rows)
    alerts = [{"step": step, "kind": "alert", "name": "truncated", "message": str(step)} for step in range(1200)]
    write_lines(run / "events.jsonl", [{"step": 5, "kind": "aha", "name": "waits", "since": 3}, *alerts])
    read = read_run(run)
    steps = curves(read)["steps"]
    assert len(steps) <= 4000 and (steps[0], steps[-1]) == (0, 9000) and steps == sorted(set(steps))
    assert [event["step"] for event in read.events] == [3, *range(700, 1200)]
    assert "of 1200 alerts, the last 500 are shown" in read.notes[0]


@pytest.mark.parametrize(
    ("last", "shown"), [([0.9], [1]), ([0.1], []), ([0.1, 0.9, 0.9], []), ([0.1, 0.9, 0.9, 0.9], [7])]
)
def test_an_aha_event_is_shown_until_its_share_returns_to_the_band(tmp_path, last, shown):
    run = make_run(tmp_path / "run")
    shares = [0.1, 0.9, 0.9, 0.9, 0.9, 0.9, *last]
    rows = [{"step": step, "reflection/n": 256.0, "reflection/waits": share} for step, share in enumerate(shares)]
    write_lines(run / "metrics.jsonl", rows)
    events = [{"step": since + 2, "kind": "aha", "name": "waits", "since": since} for since in (1, 7)]
    write_lines(run / "events.jsonl", [*events, {"step": 4, "kind": "alert", "name": "truncated"}])
    assert [event["step"] for event in read_run(run).events] == [*shown, 4]


def test_a_long_prompt_of_an_event_does_not_hide_its_completion(tmp_path):
    run = make_run(tmp_path / "run")
    texts = {"prompt": "p" * 9000, "completion": "c" * 9000}
    write_lines(run / "events.jsonl", [{"step": 3, "kind": "aha", "name": "waits", "since": 1, "sample": texts}])
    (event,) = read_run(run).events
    assert event["sample"] == "p" * 4000 + "…" + "c" * 4000 + "…"


def test_samples_are_limited_in_number_and_in_bytes(tmp_path):
    run = make_run(tmp_path / "run")
    long = [sample(step, "train", "k", True, "17 - 17 yes " * 250) for step in range(200) for _ in range(4)]
    write_lines(run / "samples.jsonl", long)
    read = read_run(run)
    data = page_data([read], ["run"], rows=500, size=150_000)
    shown = data["samples"]["rows"]
    assert len(json.dumps(shown)) <= 150_000 and data["samples"]["total"] == 800
    assert len({row["step"] for row in shown}) >= 10  # spread over the run, not its beginning
    assert len(page_data([read], ["run"], rows=500, size=10**9)["samples"]["rows"]) == 400
    assert len(render(data)) < 10_000_000
    assert page_row(long[0], 100)["cut"] == 3_000 - 100


def test_the_parts_of_a_completion_join_to_its_text_and_name_their_spans():
    row = sample(
        0,
        "eval",
        "k",
        True,
        " 16 - 8 = 9, 9 + 4 = 13 high 🎲\n 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 - 8 + 4 </answer>",
    )
    parts = page_row(row, 10_000)["parts"]
    assert "".join(text for _, text in parts) == row["completion"]
    kinds = [kind for kind, _ in parts if kind]
    assert kinds[0] == "slip" and "hit" in kinds and "verdict_true" in kinds and kinds[-1] == "answer"
    old = {name: value for name, value in row.items() if name not in ("env", "fields", "behaviors")}
    assert page_row(old, 10_000)["parts"] == [["", row["completion"]]]
    assert page_row(row | {"fields": {"numbers": "?", "target": []}}, 10_000)["parts"]  # invalid fields


def test_before_and_after_shows_problems_that_were_learned(tmp_path):
    read = read_run(make_run(tmp_path / "run", steps=6))
    shown = stages(read, read_entries(read), 6)
    # k0 is correct from the start, k1 from step 2 on, k2 and k3 at the end
    assert shown["steps"] == [0, 2, 6] and [row[0]["key"] for row in shown["problems"]] == ["k1", "k2", "k3"]
    assert [at["correct"] for at in shown["problems"][0]] == [False, True, True]


def test_charts_without_data_are_omitted():
    names = [
        "eval/sampled",
        "reward/mean",
        "reward/accuracy",
        "reward/format",
        "reflection/backtracking",
        "time/step",
        "time/x",
        "time/update",
    ]
    sections = present_sections(names)
    assert [section["title"] for section in sections] == ["Learning", "Reflection"]
    reward = next(chart for chart in sections[0]["charts"] if chart["title"] == "Reward")
    assert [series["label"] for series in reward["series"]] == ["mean", "format"]
    assert phases(names) == ["update", "x"]


def test_text_written_by_a_model_cannot_end_its_script_element(tmp_path):
    run = make_run(tmp_path / "run")
    write_lines(
        run / "samples.jsonl", [sample(0, HOSTILE, HOSTILE, True, HOSTILE, reason=HOSTILE, behaviors=[HOSTILE])]
    )
    page = write_report([run]).read_text()
    assert page.count("</script>") == 3 and "<img" not in page.split('id="data">')[1].split("</script>")[0]
    assert embedded(page)["samples"]["rows"][0]["parts"] == [["", HOSTILE]]


def test_the_report_needs_neither_torch_nor_a_particular_working_directory(tmp_path):
    run = make_run(tmp_path / "run")
    code = (
        "import sys, report; assert not {'torch', 'plotly'} & set(sys.modules)\n"
        "from report.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)],
        cwd=tmp_path,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.strip().endswith("report.html"), done.stderr


def test_pictures_of_runs_with_and_without_data(tmp_path):
    run, empty = make_run(tmp_path / "run"), make_run(tmp_path / "empty")
    (empty / "metrics.jsonl").unlink()
    picture.draw([run, empty], tmp_path / "run.png")
    picture.draw_aha([run], tmp_path / "aha.png")
    assert (tmp_path / "run.png").stat().st_size > 5000 and (tmp_path / "aha.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="nothing to draw"):
        picture.draw_aha([empty], tmp_path / "none.png")

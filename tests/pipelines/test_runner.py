"""The runner with stubs of the entry points; processes and signals are real."""

import subprocess
import sys

import pytest
from rich.console import Console

from pipelines import runner
from pipelines.__main__ import main
from pipelines.ledger import Ledger, StageState
from pipelines.runner import run_pipeline
from tests.made_pipeline import small_pipeline

STUB = """
import sys
sys.path.insert(0, {root!r})
from tests.made_pipeline import run_as_entry_point
run_as_entry_point([{name!r}, *sys.argv[1:]])
"""
STAGES = ["evaluate_base", "zero", "evaluate_zero", "rows", "tuned", "evaluate_tuned"]


@pytest.fixture
def run(tmp_path, monkeypatch, request, capsys):
    """Run the small pipeline; returns (exit code, output, the stages whose processes were started)."""
    root = request.config.rootpath
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(root / "envs")
    for name in ("train_grpo.py", "train_sft.py", "sample_traces.py", "evaluate.py"):
        (tmp_path / name).write_text(STUB.format(root=str(root), name=name))
    monkeypatch.setattr(runner, "ROOT", tmp_path)

    def run_pipeline_once(behave="", **settings):
        (tmp_path / "started").write_text("")
        (tmp_path / "behave").write_text(behave)
        code = 0
        try:
            run_pipeline(Ledger(small_pipeline(**settings)), Console())
        except SystemExit as end:
            code = end.code
        output = capsys.readouterr()
        return code, output.out + output.err, (tmp_path / "started").read_text().split()

    return run_pipeline_once


def test_all_stages_run_in_order_and_not_again(run):
    code, output, started = run()
    assert code == 0 and started == STAGES and "[5/6] tuned: train_sft.py model=tiny" in output
    assert "report: outputs/small/report.html" in output
    code, output, started = run()
    assert code == 0 and started == [] and "[5/6] tuned: finished before" in output


def test_a_signal_stops_the_running_stage_and_the_same_command_goes_on(run):
    code, output, started = run("stop rows")
    assert code == 0 and started == STAGES[:4] and "stopped; the same command resumes the pipeline" in output
    ledger = Ledger(small_pipeline())
    assert ledger.state("rows") is StageState.INTERRUPTED and ledger.state("zero") is StageState.FINISHED
    seconds = ledger.records["rows"].seconds
    code, _, started = run()
    assert code == 0 and started == STAGES[3:]
    assert Ledger(small_pipeline()).records["rows"].seconds > seconds > 0


def test_a_stage_that_fails_ends_the_pipeline_by_name(run):
    code, _, started = run("fail tuned")
    assert "stages.tuned failed with exit code 3" in code and started == STAGES[:5]
    code, _, started = run()
    assert code == 0 and started == STAGES[4:]


def test_a_stage_that_has_changed_is_refused_before_any_process_starts(run):
    run("stop rows")
    code, output, started = run(overrides={"rl": ["num_tokens=5"]})
    assert code == 2 and started == [] and "stages.zero has run with no num_tokens, now num_tokens=5" in output


def test_a_second_signal_kills_the_stage(tmp_path):
    (tmp_path / "deaf.py").write_text(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGTERM))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "while True: time.sleep(1)\n"
    )
    program = (
        "from pathlib import Path\nfrom pipelines import runner\nrunner.ROOT = Path('.')\n"
        "process = runner.StageProcess()\n"
        "with process.listening(): print(process.run(['deaf.py']), process.requests)"
    )
    root = str(runner.ROOT)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{program}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "-9 2\n" and "press Ctrl-C again to kill it" in done.stderr


def interrupted(*_):
    raise KeyboardInterrupt


def test_ctrl_c_while_the_settings_compose_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("pipelines.__main__.compose_pipeline", interrupted)
    monkeypatch.setattr(sys, "argv", ["pipelines"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and capsys.readouterr().err.startswith("stopped at once; ")

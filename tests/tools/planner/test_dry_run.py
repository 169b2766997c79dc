import io
import json

import pytest
from rich.console import Console

from pipelines.ledger import Ledger
from tests.fake_nvidia_smi import install, saying, two_gpus
from tests.made_pipeline import finish, small_pipeline
from tools.planner import dry_run
from tools.planner.dry_run import Estimate, estimate, table
from tools.planner.pipeline import StagePlan


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Installs this script as nvidia-smi."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return lambda script: monkeypatch.setenv("PATH", install(tmp_path / "bin", script))


def rows(pipeline, expected):
    """The cells of each stage and of the total, without empty ones."""
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table(Ledger(pipeline), expected))
    lines = console.export_text().splitlines()
    return {words[0]: words[1:] for line in lines if (words := line.split())}


def test_on_a_cpu_the_minutes_are_those_that_the_file_states_by_stage_or_kind(nvidia_smi):
    nvidia_smi(saying("No devices were found", 6))
    pipeline = small_pipeline(minutes={"rl": 6.0, "tuned": 3.0})
    found = estimate(pipeline)
    assert found == Estimate({"zero": 6.0, "tuned": 3.0}, 0.0, "measured on two CPU cores")
    shown = rows(pipeline, found)
    assert shown["zero"][-4:] == ["not", "started", "6.0", "0.00"] and shown["rows"][-2:] == ["?", "?"]
    assert shown["total,"] == ["without", "?", "9.0", "0.00"]
    priced = small_pipeline(minutes={"rl": 6.0}, overrides={"all": ["cost.usd_per_hour=0.5"]})
    assert estimate(priced).usd_per_hour == 0.5


def test_on_gpus_the_minutes_and_dollars_are_the_planner_s(nvidia_smi, monkeypatch):
    nvidia_smi(two_gpus(name="NVIDIA H100 80GB HBM3"))
    planned_on = []

    def plan(pipeline, name, plans, machine):
        planned_on.append((name, list(plans), machine.gpu.name, machine.count))
        return StagePlan(1800.0, 0.0)

    monkeypatch.setattr(dry_run, "plan_stage", plan)
    found, stages = estimate(small_pipeline()), list(small_pipeline().stages)
    assert found.usd_per_hour > 1 and found.problems == ()
    assert [name for name, *_ in planned_on] == stages
    assert planned_on[-1] == (stages[-1], stages[:-1], "NVIDIA H100 80GB HBM3", 2)
    assert found.source == "calculated for 2 x NVIDIA H100 80GB HBM3"
    hours = 0.5 * len(small_pipeline().stages)
    total = [f"{60 * hours:.1f}", f"{hours * found.usd_per_hour:.2f}"]
    assert rows(small_pipeline(), found)["total"] == total


def test_gpus_without_a_data_sheet_leave_the_minutes_unknown(nvidia_smi):
    nvidia_smi(two_gpus(name="NVIDIA A100 80GB PCIe"))
    found = estimate(small_pipeline())
    assert found.problems[0].startswith("GPU NVIDIA A100 80GB PCIe has no data sheet; add it to GPUS in tools/planner/")
    shown = rows(small_pipeline(), found)
    assert shown["zero"][-4:] == ["not", "started", "?", "?"] and shown["total,"] == ["without", "?", "0.0", "0.00"]


def test_a_stage_that_cannot_be_planned_leaves_its_minutes_unknown(nvidia_smi, monkeypatch):
    nvidia_smi(two_gpus(name="NVIDIA H100 80GB HBM3"))

    def plan(pipeline, name, plans, machine):
        if name == "rows":
            raise ValueError("stages.rows: too large")
        return StagePlan(1800.0, 0.0)

    monkeypatch.setattr(dry_run, "plan_stage", plan)
    found = estimate(small_pipeline())
    assert found.problems == ("stages.rows: too large",)
    shown = rows(small_pipeline(), found)
    assert [shown[name][-2] for name in ("zero", "rows", "tuned")] == ["30.0", "?", "30.0"]


def test_why_a_stage_has_no_minutes_is_printed_below_the_table(nvidia_smi, monkeypatch, capsys):
    nvidia_smi(two_gpus(name="NVIDIA T4"))
    monkeypatch.setattr("sys.argv", ["dry_run", "pipeline=journey_gsm8k"])
    dry_run.main()
    printed = capsys.readouterr().out
    assert "journey_traces" in printed and "no minutes: GPU NVIDIA T4 has no data sheet; add it to GPUS" in printed


def test_a_finished_stage_shows_its_measured_minutes(nvidia_smi):
    nvidia_smi(saying("No devices were found", 6))
    pipeline = small_pipeline(minutes={"rl": 6.0})
    finish("train_grpo.py", ["run=small/zero"])
    record = {"command": [], "inputs": {}, "seconds": 90.0}
    (pipeline.folder / "pipeline.json").write_text(json.dumps({"stages": {"zero": record}}))
    assert rows(pipeline, estimate(pipeline))["zero"][-3:] == ["finished", "1.5", "0.00"]

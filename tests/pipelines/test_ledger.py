import json
import shutil
from pathlib import Path

import pytest

from conf.pipelines import StageConfig
from pipelines.ledger import Ledger, StageState, identity
from pipelines.runner import check_started
from run.folder import RunFolder
from tests.made_pipeline import finish, small_pipeline


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch, request):
    """An empty working folder, with the tiny model where its settings expect it."""
    models = request.config.rootpath / "envs"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(models)


def run_all(pipeline):
    """A ledger all of whose stages have finished."""
    ledger = Ledger(pipeline)
    for name in pipeline.stages:
        entry_point, *overrides = ledger.check(name).command
        finish(entry_point, overrides)
    ledger.write()
    return Ledger(pipeline)


def test_a_stage_is_recorded_with_its_command_and_what_it_reads():
    ledger = run_all(small_pipeline())
    record = ledger.records["tuned"]
    assert record.command[0] == "train_sft.py" and set(record.inputs) == {"base", "rows"}
    assert all(len(digest) == 64 for digest in record.inputs.values())
    assert ledger.records["rows"].inputs == {"zero": ledger.summary("zero")["weights_sha256"]}
    stored = json.loads(ledger.path.read_text())
    assert list(stored["stages"]) == list(ledger.pipeline.stages) and stored["pipeline"] == "small"


def test_the_states_of_stages():
    pipeline = small_pipeline()
    ledger = Ledger(pipeline)
    assert ledger.state("zero") is StageState.NOT_STARTED and ledger.is_ready("zero") and not ledger.is_ready("rows")
    record = ledger.check("zero")
    assert ledger.state("zero") is StageState.INTERRUPTED
    finish(record.command[0], record.command[1:])
    assert ledger.state("zero") is StageState.FINISHED and ledger.is_ready("rows")
    assert ledger.known().weights["zero"] == pipeline.folder / "zero/checkpoints/step_000002/hf"


def test_a_training_that_its_budget_ended_has_not_finished():
    ledger = run_all(small_pipeline())
    summary = ledger.summary("zero")
    ledger.result("zero").write_text(json.dumps(summary | {"steps": 1}))
    assert ledger.state("zero") is StageState.INTERRUPTED


def test_nothing_has_changed_if_only_the_place_has():
    run_all(small_pipeline())
    ledger = Ledger(small_pipeline(overrides={"all": ["topology=cpu", "rollout.threads=2"], "rl": ["tracker=none"]}))
    check_started(ledger)
    assert "topology=cpu" in ledger.records["zero"].command


@pytest.mark.parametrize("override", ["topology=async", "topology.max_off_policy_steps=1"])
def test_training_on_older_weights_is_another_result(override):
    run_all(small_pipeline())
    assert override in changed(small_pipeline(overrides={"rl": [override]}))


def changed(pipeline):
    with pytest.raises(ValueError) as refused:
        check_started(Ledger(pipeline))
    return str(refused.value)


@pytest.mark.parametrize("content", ["{}", '{"stages": []}', '{"stages": {"zero": {"command": []}}}', "[]", "{"])
def test_a_damaged_record_is_named(content):
    ledger = run_all(small_pipeline())
    ledger.path.write_text(content)
    with pytest.raises(ValueError, match=r"pipeline.json .*; remove it, and the folders of the stages, to run them"):
        Ledger(small_pipeline())


def test_the_seconds_of_a_pipeline_that_was_killed_are_those_of_the_stage():
    ledger = run_all(small_pipeline())
    seconds = {name: ledger.seconds(name) for name in ("zero", "rows", "evaluate_zero")}
    assert seconds == {"zero": 0.0, "rows": 2.0, "evaluate_zero": 3.0}
    RunFolder(ledger.pipeline.folder / "zero").write_spent(7.0, 0.0)
    assert ledger.seconds("zero") == 7.0
    ledger.records["zero"].seconds = 9.0  # with the start of its process
    assert ledger.seconds("zero") == 9.0


def test_stages_with_other_settings_do_not_count():
    run_all(small_pipeline())
    assert Ledger(small_pipeline()).forget_changed() == []
    longer = StageConfig("rl", "base", overrides=["num_steps=3"], arm="RL alone")
    ledger = Ledger(small_pipeline(stages=small_pipeline().cfg.stages | {"zero": longer}))
    assert "stages.zero has run with num_steps=2, now num_steps=3" in ledger.forget_changed()[0]
    assert not ledger.is_finished("zero") and not ledger.is_finished("tuned") and ledger.is_finished("evaluate_base")


def test_another_command_is_refused_by_name():
    run_all(small_pipeline())
    assert changed(small_pipeline(overrides={"sft": ["epochs=2"]})) == (
        "stages.tuned has run with no epochs, now epochs=2; restore it, remove outputs/small/tuned to run the stage "
        "again, or choose another run=NAME"
    )
    stages = small_pipeline().cfg.stages | {
        "zero": StageConfig("rl", "base", overrides=["num_steps=3"], arm="RL alone")
    }
    assert "stages.zero has run with num_steps=2, now num_steps=3" in changed(small_pipeline(stages=stages))


def test_other_data_and_other_weights_are_refused_by_name():
    pipeline = small_pipeline()
    ledger = run_all(pipeline)
    with (pipeline.folder / "rows" / "data.jsonl").open("a") as file:
        file.write("{}\n")
    assert "stages.tuned has run with the data or weights of rows, " in changed(pipeline)
    summary = ledger.summary("zero") | {"weights_sha256": "f" * 64}
    ledger.result("zero").write_text(json.dumps(summary))
    assert ", now ffffffffffff; restore it, remove outputs/small/evaluate_zero" in changed(pipeline)


def test_another_base_model_in_the_same_folder_is_refused(tmp_path, request):
    (tmp_path / "envs").unlink()
    shutil.copytree(request.config.rootpath / "envs/countdown/models", tmp_path / "envs/countdown/models")
    pipeline = small_pipeline()
    run_all(pipeline)
    weights = tmp_path / "envs/countdown/models/tiny/model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"0")
    assert "stages.evaluate_base has run with the data or weights of base, " in changed(pipeline)


def test_a_stage_whose_folder_was_removed_runs_again():
    pipeline = small_pipeline()
    run_all(pipeline)
    shutil.rmtree(pipeline.folder / "tuned")
    ledger = Ledger(small_pipeline(overrides={"sft": ["epochs=2"]}))
    check_started(ledger)
    assert ledger.state("tuned") is StageState.NOT_STARTED


def test_weights_that_were_removed_are_missed_by_name():
    pipeline = small_pipeline()
    run_all(pipeline)
    shutil.rmtree(pipeline.folder / "zero" / "checkpoints")
    shutil.rmtree(pipeline.folder / "rows")
    with pytest.raises(ValueError, match="stages.zero: outputs/small/zero has no checkpoint any more"):
        Ledger(pipeline).check("rows")


def test_weights_from_which_no_stage_starts_any_more_may_be_removed():
    pipeline = small_pipeline()
    run_all(pipeline)
    for stage in ("zero", "tuned"):
        shutil.rmtree(pipeline.folder / stage / "checkpoints")
    ledger = Ledger(pipeline)
    check_started(ledger)
    assert ledger.forget_changed() == [] and all(map(ledger.is_finished, pipeline.stages))


def test_the_identity_of_files_folders_and_hub_names(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("one")
    before = identity(tmp_path / "a")
    (tmp_path / "a" / ".lock").write_text("host pid 7")
    assert identity(tmp_path / "a") == before
    assert identity(tmp_path / "a" / "x") != before
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert identity(tmp_path / "a") != before
    assert identity(Path("user/data")) == "user/data"


def test_stages_that_do_not_run_this_time_stay_in_the_ledger():
    run_all(small_pipeline())
    ledger = Ledger(small_pipeline(only=["zero"]))
    check_started(ledger)
    ledger.write()
    assert Ledger(small_pipeline()).is_finished("tuned")

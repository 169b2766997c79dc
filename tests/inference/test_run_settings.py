import shutil

import pytest
import yaml

from conf.compose import compose_evaluation, compose_verifier
from inference.run_settings import run_settings
from run.files import DamagedFile
from workers.checkpoint import write_checkpoint


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the tiny model on small numbers, with checkpoints at two steps."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "my-run"
    folder.mkdir(parents=True)
    saved = {"model": {"name": "tiny", "path": str(tmp_path)}, "env": {"name": "countdown", "max_number": 12}}
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    (tmp_path / "config.json").write_text("{}")

    def save(checkpoint):
        (checkpoint / "hf").mkdir()
        (checkpoint / "hf" / "config.json").write_text("{}")

    for step in (20, 40):
        write_checkpoint(folder / "checkpoints", step, save, keep=2)
    return folder


@pytest.mark.parametrize("compose", [compose_evaluation, compose_verifier])
def test_the_model_is_a_checkpoint_of_the_run(run, compose):
    newest = run_settings(compose, ["run=my-run"])
    assert newest.model.source == str(run / "checkpoints" / "step_000040" / "hf") and newest.env.max_number == 12
    assert newest.folder.resolve() == run
    older = run_settings(compose, ["run=my-run", "ckpt=step_000020"])
    assert older.model.source == str(run / "checkpoints" / "step_000020" / "hf")


def test_the_results_of_an_evaluation_can_be_written_elsewhere():
    assert str(compose_evaluation([], {}).results_folder) == "outputs/eval-tiny-countdown"
    assert str(compose_evaluation(["output=outputs/mine"], {}).results_folder) == "outputs/mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=other"], "run=other: outputs/other is not a run; run must be the name of a folder in outputs/"),
        (
            ["run=my-run", "ckpt=step_000030"],
            "ckpt must be a checkpoint of outputs/my-run, step_000020, step_000040; got step_000030",
        ),
    ],
)
def test_a_missing_run_or_checkpoint_is_named(run, overrides, message):
    with pytest.raises(ValueError) as error:
        run_settings(compose_evaluation, overrides)
    assert message in str(error.value)


@pytest.mark.parametrize("odd", [{"model": "tiny"}, {"model": {}}, {}])
def test_a_config_of_a_run_without_its_model_is_named(run, odd):
    (run / "config.yaml").write_text(yaml.safe_dump({"env": {"name": "countdown"}} | odd))
    with pytest.raises(
        DamagedFile, match=r"outputs/my-run/config.yaml.* no (model|name); run the training command again"
    ):
        run_settings(compose_evaluation, ["run=my-run"])


def test_a_damaged_checkpoint_is_refused(run):
    (run / "checkpoints" / "step_000040" / "hf" / "config.json").write_text("{ }")
    with pytest.raises(ValueError, match="config.json was changed"):
        run_settings(compose_evaluation, ["run=my-run"])


def test_a_run_without_checkpoints_is_refused(run):
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ValueError, match="run=my-run: outputs/my-run has no checkpoint yet"):
        run_settings(compose_evaluation, ["run=my-run"])


def test_a_run_without_a_name_is_refused(run):
    with pytest.raises(ValueError, match="run= is empty"):
        run_settings(compose_evaluation, ["run="])
    with pytest.raises(ValueError, match="name= is empty"):
        run_settings(compose_evaluation, ["run=my-run", "name="])


@pytest.mark.parametrize("other", ["model=qwen-0.5b", "++model.path=org/other", "model.local_path=models/other"])
def test_another_model_besides_the_run_is_refused(run, other):
    with pytest.raises(ValueError) as error:
        run_settings(compose_evaluation, ["run=my-run", other])
    assert str(error.value) == (
        f"{other.lstrip('+')} contradicts run=my-run, whose checkpoint is the model; leave out one of them"
    )


def test_plus_signs_do_not_change_what_an_override_means(run):
    cfg = run_settings(compose_evaluation, ["++run=my-run", "++env.max_number=13"])
    assert cfg.model.source == str(run / "checkpoints" / "step_000040" / "hf") and cfg.env.max_number == 13

import pytest
import yaml

from conf.compose import compose_evaluation, compose_verifier
from workers.checkpoint import write_checkpoint
from workers.run_settings import settings


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the tiny model on small numbers, with checkpoints of two steps."""
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
def test_a_run_s_checkpoint_is_the_model(run, compose):
    newest = settings(compose, ["run=my-run"])
    assert newest.model.source == str(run / "checkpoints" / "step_000040" / "hf") and newest.env.max_number == 12
    assert newest.folder.resolve() == run
    older = settings(compose, ["run=my-run", "ckpt=step_000020"])
    assert older.model.source == str(run / "checkpoints" / "step_000020" / "hf")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=other"], "run=other: outputs/other holds no run; give the name of a folder in outputs/"),
        (["run=my-run", "ckpt=step_000030"], "ckpt=step_000030: outputs/my-run has the checkpoints step_000020, step"),
    ],
)
def test_a_run_or_a_checkpoint_that_is_not_there_is_named(run, overrides, message):
    with pytest.raises(ValueError) as error:
        settings(compose_evaluation, overrides)
    assert message in str(error.value)


def test_a_damaged_checkpoint_is_refused(run):
    (run / "checkpoints" / "step_000040" / "hf" / "config.json").write_text("{ }")
    with pytest.raises(ValueError, match="config.json was changed"):
        settings(compose_evaluation, ["run=my-run"])

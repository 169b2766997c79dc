import json
from collections import namedtuple

import pytest
import torch
from transformers import GenerationConfig

from conf.launch import disk_error
from tests.builders import small_model
from workers import checkpoint
from workers.checkpoint import (
    DamagedCheckpoint,
    list_checkpoints,
    newest_intact,
    save_hf_folder,
    step_of,
    verify_checkpoint,
    write_checkpoint,
)
from workers.models import load_model


def save(folder, text="weights"):
    (folder / "hf").mkdir()
    (folder / "hf" / "model.bin").write_text(text)


def steps(root):
    return [step_of(path) for path in list_checkpoints(root)]


def test_a_checkpoint_is_intact_and_found(tmp_path):
    path = write_checkpoint(tmp_path, 20, save, keep=2)
    verify_checkpoint(path)
    assert path.name == "step_000020" and newest_intact(tmp_path, print) == path


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, step, save, keep=2)
    assert steps(tmp_path) == [2, 3]


def test_damaged_checkpoints_of_later_steps_do_not_displace_a_new_one(tmp_path):
    for step in (80, 100):
        write_checkpoint(tmp_path, step, save, keep=2)
    (tmp_path / "step_000100" / "manifest.json").unlink()
    assert newest_intact(tmp_path, print) == tmp_path / "step_000080"  # the run resumes here
    write_checkpoint(tmp_path, 90, save, keep=1)
    assert steps(tmp_path) == [90] and newest_intact(tmp_path, print) == tmp_path / "step_000090"


Usage = namedtuple("Usage", "free")


@pytest.mark.parametrize("free", [0, 2**30])
def test_a_failing_save_leaves_the_old_checkpoint_alone_and_says_if_the_disk_is_full(tmp_path, monkeypatch, free):
    write_checkpoint(tmp_path, 1, save, keep=1)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: Usage(free))

    def fails(folder):
        save(folder)
        raise RuntimeError("unexpected pos 704 vs 598")  # what PyTorch's writer says

    with pytest.raises((RuntimeError, OSError)) as error:
        write_checkpoint(tmp_path, 2, fails, keep=1)
    message = disk_error(error.value)
    if free:
        assert message is None
    else:
        assert message is not None and message.startswith(f"{tmp_path}/step_000002: No space left on device; free disk")
    assert [path.name for path in tmp_path.iterdir()] == ["step_000001"]
    verify_checkpoint(tmp_path / "step_000001")


def test_what_a_killed_run_left_of_a_checkpoint_is_removed_by_the_next_one(tmp_path):
    write_checkpoint(tmp_path, 1, save, keep=1)
    unfinished = tmp_path / ".writing_step_000002"
    unfinished.mkdir()
    save(unfinished)
    assert newest_intact(tmp_path, print) == tmp_path / "step_000001"
    write_checkpoint(tmp_path, 3, save, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000003"]


def test_a_damaged_checkpoint_is_reported_and_an_older_one_is_used(tmp_path):
    whole = write_checkpoint(tmp_path, 1, save, keep=3)
    damaged = write_checkpoint(tmp_path, 2, save, keep=3)
    (damaged / "hf" / "model.bin").write_text("weighty")
    messages = []
    assert newest_intact(tmp_path, messages.append) == whole
    assert len(messages) == 1 and "step_000002 is damaged: hf/model.bin was changed" in messages[0]


@pytest.mark.parametrize("damage", ["missing", "not in its manifest", "readable"])
def test_each_kind_of_damage_is_detected(tmp_path, damage):
    path = write_checkpoint(tmp_path, 1, save, keep=1)
    if damage == "missing":
        (path / "hf" / "model.bin").unlink()
    elif damage == "not in its manifest":
        (path / "hf" / "other.bin").write_text("")
    else:
        (path / "manifest.json").write_text("{")
    with pytest.raises(DamagedCheckpoint, match=damage):
        verify_checkpoint(path)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest_intact(tmp_path / "nowhere", print) is None


def test_the_same_step_can_be_written_again(tmp_path):
    write_checkpoint(tmp_path, 1, save, keep=2)
    path = write_checkpoint(tmp_path, 1, lambda folder: save(folder, "newer"), keep=2)
    verify_checkpoint(path)
    assert (path / "hf" / "model.bin").read_text() == "newer"


IDS = {"bos_token_id": 1, "eos_token_id": [2, 7], "pad_token_id": 0}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (IDS | {"do_sample": True, "temperature": 0.6}, IDS | {"do_sample": True, "temperature": 0.6}),
        (IDS | {"temperature": 0.9, "top_p": 0.6}, IDS | {"do_sample": True, "temperature": 0.9, "top_p": 0.6}),
        (IDS | {"temperature": 0.9, "early_stopping": True}, {"bos_token_id": 1, "eos_token_id": [2, 7]}),
    ],
)
def test_a_model_whose_generation_settings_transformers_refuses_to_save_is_saved(tmp_path, stored, expected):
    small_model().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(stored))
    model = load_model(tmp_path / "model", "float32")
    weights = dict(model.named_parameters())
    save_hf_folder(tmp_path / "hf", model, weights, "envs/countdown/models/tiny", torch.float32)
    saved = GenerationConfig.from_pretrained(tmp_path / "hf").to_diff_dict()
    assert saved | {"transformers_version": None} == expected | {"transformers_version": None}

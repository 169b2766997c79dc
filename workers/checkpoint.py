"""Checkpoints that are either complete or absent.

A checkpoint is a folder `step_000100` with `hf/`, `trainer/` and `manifest.json`, which lists the sha256 of every
file. It is written under a temporary name, synced and renamed; older checkpoints are removed only afterwards.
"""

import copy
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MANIFEST = "manifest.json"
FULL_BYTES = 2**20  # a failed write leaves less on a disk that is full


class DamagedCheckpoint(ValueError):  # noqa: N818 - reads as a state
    """The files of a checkpoint differ from its manifest; the message names the checkpoint and the file."""


def write_checkpoint(root: Path, step: int, save: Callable[[Path], None], keep: int) -> Path:
    """Let `save` fill a folder, add its manifest, move it to `root/step_NNNNNN`, and keep the `keep` newest up to this
    step. Those of later steps are damaged, since the run has resumed from before them."""

    def save_and_seal(folder: Path) -> None:
        save(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {"step": step, "files": {str(path.relative_to(folder)): sha256_of(path) for path in files}}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    for leftover in root.glob(".writing_*"):
        shutil.rmtree(leftover)
    final = root / f"step_{step:06d}"
    write_atomically(final, save_and_seal)
    found = list_checkpoints(root)
    kept = [path for path in found if step_of(path) <= step][-keep:]
    for path in found:
        if path not in kept:
            shutil.rmtree(path)
    return final


def write_atomically(final: Path, save: Callable[[Path], None]) -> None:
    """Let `save` fill a temporary folder, and replace `final` by it once everything is on disk.

    Raises:
        OSError: ENOSPC, the disk is full; `final` is as it was.
    """
    temporary = final.with_name(f".writing_{final.name}")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        save(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
    except BaseException as error:
        is_full = isinstance(error, Exception) and shutil.disk_usage(temporary).free < FULL_BYTES
        shutil.rmtree(temporary, ignore_errors=True)  # on a full disk it would take the space that others need
        if is_full:  # PyTorch's writer does not say so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final)) from error
        raise
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def list_checkpoints(root: Path) -> list[Path]:
    """The checkpoints in `root`, oldest first."""
    return sorted(path for path in root.glob("step_*") if path.is_dir())


def newest_intact(root: Path, report: Callable[[str], None]) -> Path | None:
    """The newest intact checkpoint, or None. Damaged ones are skipped, with a message to `report`."""
    for path in reversed(list_checkpoints(root)):
        try:
            verify_checkpoint(path)
        except DamagedCheckpoint as error:
            report(f"{error}; trying an older checkpoint")
            continue
        return path
    return None


def verify_checkpoint(path: Path) -> None:
    """Compare a checkpoint with its manifest.

    Raises:
        DamagedCheckpoint: a file is missing, changed or unexpected.
    """
    try:
        expected = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"checkpoint {path} has no readable {MANIFEST}") from error
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != MANIFEST}
    for name in sorted(found ^ set(expected)):
        state = "missing" if name in expected else "not in its manifest"
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: {name} is {state}")
    for name, digest in expected.items():
        if sha256_of(path / name) != digest:
            raise DamagedCheckpoint(f"checkpoint {path} is damaged: {name} was changed")


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_hf_folder(
    folder: Path, model: Any, weights: Mapping[str, "torch.Tensor"], tokenizer: str, dtype: "torch.dtype"
) -> None:
    """Write a model folder that transformers and vLLM load, with the tokenizer of the model `tokenizer`."""
    from workers.models import load_tokenizer

    model.generation_config = savable(model.generation_config)
    model.save_pretrained(folder, state_dict=weights)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")  # transformers writes the type of the model in memory
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    load_tokenizer(tokenizer).save_pretrained(folder)


def savable(given: Any) -> Any:
    """The generation settings of a model as far as transformers saves them. It loads settings that it refuses to save,
    such as a temperature without `do_sample`. If `do_sample=True` does not make them valid, only the ids of the tokens
    that begin and end a sequence are kept."""
    sampling = copy.deepcopy(given)
    sampling.do_sample = True
    for settings in (given, sampling):
        try:
            settings.validate(strict=True)
        except ValueError:
            continue
        return settings
    return type(given)(bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id)


def save_trainer(folder: Path, model: Any, optimizer: Any, schedule: Any, alone: bool) -> None:
    """Write the trained parameters, optimizer state and schedule of all ranks, or of a single process (`alone`)."""
    import torch.distributed.checkpoint as dcp  # takes 3 s to import

    dcp.save(_trainer_state(model, optimizer, schedule), checkpoint_id=folder, no_dist=alone)


def load_trainer(folder: Path, model: Any, optimizer: Any, schedule: Any, alone: bool) -> None:
    """Load what `save_trainer` wrote, with any number of ranks."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    state = _trainer_state(model, optimizer, schedule)
    dcp.load(state, checkpoint_id=folder, no_dist=alone)
    options = StateDictOptions(strict=False)
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options
    )
    schedule.load_state_dict(state["schedule"])
    # The learning rate of the next update follows the schedule of this start, whose num_steps may be another one.
    for group, base, scale in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["lr"] = base * scale(schedule.last_epoch)


def _trainer_state(model: Any, optimizer: Any, schedule: Any) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(ignore_frozen_params=True)
    is_new = not optimizer.state
    parameters, state = get_state_dict(model, optimizer, options=options)
    if is_new:  # PyTorch has created the state by a step with zero gradients; the first update must not be the second
        for values in optimizer.state.values():
            values["step"] = values["step"] * 0
        state = get_state_dict(model, optimizer, options=options)[1]
    return {"model": parameters, "optimizer": state, "schedule": schedule.state_dict()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

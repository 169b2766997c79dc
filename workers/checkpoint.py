"""Checkpoints that are whole or not there.

A checkpoint is a folder `step_000100` with `hf/`, `trainer/` and `manifest.json`, which holds the
sha256 of every file. It is written under a temporary name, synced and renamed; older ones go only
after the new one is in place.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

MANIFEST = "manifest.json"


class DamagedCheckpoint(ValueError):  # noqa: N818 - a state, said by its name
    """A checkpoint whose files are not those of its manifest; the message names it and says why."""


def write_checkpoint(root: Path, step: int, save: Callable[[Path], None], keep: int) -> Path:
    """Let `save` fill a folder, seal it as `root/step_NNNNNN`, and keep the `keep` newest."""

    def save_and_seal(folder: Path) -> None:
        save(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {"step": step, "files": {str(path.relative_to(folder)): sha256_of(path) for path in files}}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    for leftover in root.glob(".writing_*"):
        shutil.rmtree(leftover)
    final = root / f"step_{step:06d}"
    write_whole(final, save_and_seal)
    for old in list_checkpoints(root)[:-keep]:
        shutil.rmtree(old)
    return final


def write_whole(final: Path, save: Callable[[Path], None]) -> None:
    """Let `save` fill a folder, and put it in the place of `final` when all of it is on the disk."""
    temporary = final.with_name(f".writing_{final.name}")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    save(temporary)
    for path in [*temporary.rglob("*"), temporary]:
        _sync(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(final.parent)


def list_checkpoints(root: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in root.glob("step_*") if path.is_dir())


def newest_whole(root: Path, report: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole; each damaged one is named to `report` and passed over."""
    for path in reversed(list_checkpoints(root)):
        try:
            verify(path)
        except DamagedCheckpoint as error:
            report(f"{error}; it is not used, an older one is tried")
            continue
        return path
    return None


def verify(path: Path) -> None:
    """Compare a checkpoint with its manifest.

    Raises:
        DamagedCheckpoint: a file is missing, was changed, or does not belong there.
    """
    try:
        expected = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"checkpoint {path} has no readable {MANIFEST}") from error
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file() and p.name != MANIFEST}
    for name in sorted(found ^ set(expected)):
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: {name} is {'missing' if name in expected else 'new'}")
    for name, digest in expected.items():
        if sha256_of(path / name) != digest:
            raise DamagedCheckpoint(f"checkpoint {path} is damaged: {name} was changed")


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Weights on their way from the actor to whoever generates: one safetensors file in shared memory.

The actor publishes a version, a sampler fetches it. A published version stays until the next one
is out, so that a sampler that died can be started again and given the same weights.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Weights:
    """Where a version of the weights lies. `sha256` is over names, shapes, types and values."""

    path: str
    version: int
    sha256: str


def shared_folder(run_folder: Path) -> Path:
    """The folder of a run in shared memory (or the temporary folder where there is none)."""
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    return base / f"ahazero-{hashlib.sha256(str(run_folder.resolve()).encode()).hexdigest()[:12]}"


def publish(tensors: Mapping[str, torch.Tensor], folder: Path, version: int) -> Weights:
    """Write one version, then remove the older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"weights_{version:06d}.safetensors"
    temporary = path.with_suffix(".writing")
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    save_file(contiguous, temporary)
    temporary.rename(path)
    for other in folder.glob("weights_*"):
        if other != path:
            other.unlink()
    return Weights(str(path), version, checksum(contiguous))


def fetch(weights: Weights) -> dict[str, torch.Tensor]:
    """Read a published version.

    Raises:
        ValueError: what lies there is not what was published.
    """
    tensors = load_file(weights.path)
    found = checksum(tensors)
    if found != weights.sha256:
        raise ValueError(
            f"weights version {weights.version} arrived damaged: sha256 {found[:12]}, sent {weights.sha256[:12]}"
        )
    return tensors


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data if tensor.dim() else bytes(tensor.untyped_storage()))
    return digest.hexdigest()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

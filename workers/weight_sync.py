"""Weights on their way from the actor to whoever generates: a folder of safetensors in shared memory.

The actor publishes a version, a sampler fetches it. A published version stays until the next one
is out, so that a sampler that died can be started again and given the same weights.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from conf.schema import TopologyConfig

SHM = "shm"
SHARED_MEMORY = Path("/dev/shm")
BUCKET_BYTES = 2**28


@dataclass(frozen=True)
class Weights:
    """Where a version of the weights lies, "" where they are sent directly. `sha256` is over names, shapes, types
    and values."""

    path: str
    version: int
    sha256: str


def transfer_of(topology: TopologyConfig, device: str) -> str:
    """How weights reach the rollouts: a CPU has shared memory alone."""
    return topology.weight_transfer if device == "cuda" else SHM


def shared_folder(run_folder: Path) -> Path:
    """The folder of a run in shared memory (or the temporary folder where there is none)."""
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    return base / f"ahazero-{hashlib.sha256(str(run_folder.resolve()).encode()).hexdigest()[:12]}"


def publish(
    tensors: Iterable[tuple[str, torch.Tensor]], folder: Path, version: int, first: bool = True, keep: bool = True
) -> Weights:
    """Write one version, a bucket at a time, then remove the older ones. Of several ranks the `first` writes; the
    others walk through the tensors with it, which gathers them. Not to `keep` it is to have the checksum alone."""
    writes = first and keep
    path = folder / f"weights_{version:06d}"
    temporary = path.with_suffix(".writing")
    digests: dict[str, str] = {}
    if writes:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    for number, bucket in enumerate(buckets(tensors, first)):
        if writes:
            save_file(bucket, temporary / f"{number:05d}.safetensors")
        digests |= {name: digest(name, tensor) for name, tensor in bucket.items()}
    if writes:
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for other in folder.glob("weights_*"):
            if other != path:
                shutil.rmtree(other)
    return Weights(str(path) if keep else "", version, together(digests))


def buckets(tensors: Iterable[tuple[str, torch.Tensor]], keep: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors in host memory, BUCKET_BYTES or a little more at a time; none of them where nobody will `keep` them."""
    bucket: dict[str, torch.Tensor] = {}
    for name, tensor in tensors:
        if not keep:
            continue
        bucket[name] = tensor.detach().contiguous().cpu()
        if sum(one.nbytes for one in bucket.values()) >= BUCKET_BYTES:
            yield bucket
            bucket = {}
    if bucket:
        yield bucket


def fetch(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Read a published version, a bucket at a time; it is checked as a whole before the first tensor is given.

    Raises:
        ValueError: what lies there is not what was published.
    """
    files = sorted(Path(weights.path).glob("*.safetensors"))
    found = together({name: digest(name, tensor) for file in files for name, tensor in load_file(file).items()})
    if found != weights.sha256:
        raise ValueError(
            f"weights version {weights.version} arrived damaged: sha256 {found[:12]}, sent {weights.sha256[:12]}"
        )
    return (item for file in files for item in load_file(file).items())


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Over all names, shapes, types and values, in whatever order they come."""
    return together({name: digest(name, tensor) for name, tensor in tensors.items()})


def digest(name: str, tensor: torch.Tensor) -> str:
    found = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    values = tensor.detach().contiguous().cpu()
    found.update(values.view(torch.uint8).numpy().data if values.dim() else bytes(values.untyped_storage()))
    return found.hexdigest()


def together(digests: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(digests[name] for name in sorted(digests)).encode()).hexdigest()


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

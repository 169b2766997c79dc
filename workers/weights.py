"""The transfer of weights from the actor to the processes that load them.

The actor publishes a version as a folder of safetensors in shared memory, and a sampler (or the reference) fetches it.
A published version stays until the next one is complete, so that a restarted sampler can load the same weights. Between
GPUs vLLM's own transfer sends the tensors instead (workers/direct_transfer.py), and only the checksum is published.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from conf.workers import TopologyConfig

SHARED_MEMORY = Path("/dev/shm")
BUCKET_BYTES = 2**28


class Transfer(StrEnum):
    """How weights reach the samplers; the values are the names of vLLM's weight-transfer backends."""

    SHARED_MEMORY = "shm"
    IPC = "ipc"
    NCCL = "nccl"

    @classmethod
    def of(cls, topology: TopologyConfig, device: str) -> "Transfer":
        """The transfer of a run. Without a GPU only shared memory works."""
        return cls(topology.weight_transfer) if device == "cuda" else cls.SHARED_MEMORY


@dataclass(frozen=True)
class Weights:
    """A version of the weights.

    sha256    over names, shapes, types and values; "" except on the first rank
    transfer  how the samplers receive it
    path      the folder that holds it, or None if it was not written to shared memory
    """

    version: int
    sha256: str
    transfer: Transfer = Transfer.SHARED_MEMORY
    path: str | None = None


def shared_folder(run_folder: Path) -> Path:
    """The folder of a run in shared memory, or in the temporary folder if the system has no shared memory."""
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(os.environ.get("TMPDIR", "/tmp"))
    return base / f"ahazero-{hashlib.sha256(str(run_folder.resolve()).encode()).hexdigest()[:12]}"


def publish(
    tensors: Iterable[tuple[str, torch.Tensor]],
    folder: Path,
    version: int,
    is_first: bool = True,
    transfer: Transfer = Transfer.SHARED_MEMORY,
    keep: bool = True,
) -> Weights:
    """Write a version to shared memory bucket by bucket, then remove older versions.

    is_first  whether this is the first of the ranks that hold the model: it writes, while the others only iterate over
              the tensors, because each tensor is gathered from all ranks
    keep      False computes only the checksum
    """
    path, writes = folder / f"weights_{version:06d}", keep and is_first
    temporary = path.with_suffix(".writing")
    digests: dict[str, str] = {}
    if writes:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    for number, bucket in enumerate(buckets(tensors, is_first)):
        if writes:
            save_file(bucket, temporary / f"{number:05d}.safetensors")
        digests |= {name: digest(name, tensor) for name, tensor in bucket.items()}
    if writes:
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        for other in folder.glob("weights_*"):
            if other != path:
                shutil.rmtree(other)
    return Weights(version, combine(digests), transfer, str(path) if keep else None)


def buckets(tensors: Iterable[tuple[str, torch.Tensor]], keep: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors in host memory, about BUCKET_BYTES at a time. keep=False only iterates and yields nothing."""
    bucket: dict[str, torch.Tensor] = {}
    for name, tensor in tensors:
        if not keep:
            continue
        bucket[name] = tensor.detach().contiguous().cpu()
        if sum(each.nbytes for each in bucket.values()) >= BUCKET_BYTES:
            yield bucket
            bucket = {}
    if bucket:
        yield bucket


def fetch(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a published version. The checksum is verified before the first tensor is returned.

    Raises:
        ValueError: the files are not what was published.
    """
    assert weights.path is not None
    files = sorted(Path(weights.path).glob("*.safetensors"))
    found = combine({name: digest(name, tensor) for file in files for name, tensor in load_file(file).items()})
    if found != weights.sha256:
        raise ValueError(
            f"weights version {weights.version} is damaged: sha256 {found[:12]}, published {weights.sha256[:12]}"
        )
    return (item for file in files for item in load_file(file).items())


def digest(name: str, tensor: torch.Tensor) -> str:
    found = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    values = tensor.detach().contiguous().cpu()
    found.update(values.view(torch.uint8).numpy().data if values.dim() else bytes(values.untyped_storage()))
    return found.hexdigest()


def combine(digests: Mapping[str, str]) -> str:
    """The checksum of all tensors, independent of their order."""
    return hashlib.sha256("".join(digests[name] for name in sorted(digests)).encode()).hexdigest()

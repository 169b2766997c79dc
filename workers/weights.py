"""The transfer of weights from the actor to the processes that load them.

Through shared memory the actor publishes a version as a folder of safetensors, and a sampler (or the reference) fetches
it. A published version stays until the next one is complete, so that a restarted sampler can load the same weights. On
GPUs vLLM's own transfer sends the tensors instead (workers/direct_transfer.py). Whatever the transfer, the sender and
every receiver compute the checksum of the tensors (workers/checksum.py), and the receivers compare.
"""

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from conf.workers import TopologyConfig
from run.files import DamagedFile
from workers.checksum import combine, counted

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

    checksum  16 hexadecimal digits; "" except on the first rank, and until the weights were sent directly
    transfer  how the samplers receive it
    path      the folder that holds it, or None if it was not written to shared memory
    """

    version: int
    checksum: str = ""
    transfer: Transfer = Transfer.SHARED_MEMORY
    path: str | None = None


def publish(
    tensors: Iterable[tuple[str, Tensor]],
    folder: Path,
    version: int,
    is_first: bool = True,
    transfer: Transfer = Transfer.SHARED_MEMORY,
) -> Weights:
    """Write a version to shared memory bucket by bucket, then remove older versions.

    is_first  whether this is the first of the ranks that hold the model: it writes, while the others only iterate over
              the tensors, because each tensor is gathered from all ranks
    """
    path, checksums = folder / f"weights_{version:06d}", list[Tensor]()
    if not is_first:
        deque(tensors, maxlen=0)
        return Weights(version, "", transfer, str(path))
    temporary = path.with_suffix(".writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for number, bucket in enumerate(buckets(counted(tensors, checksums))):
        save_file(bucket, temporary / f"{number:05d}.safetensors")
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    for other in set(folder.glob("weights_*")) - {path}:
        shutil.rmtree(other)
    return Weights(version, combine(checksums), transfer, str(path))


def buckets(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Tensors in host memory, about BUCKET_BYTES at a time."""
    bucket: dict[str, Tensor] = {}
    for name, tensor in tensors:
        bucket[name] = tensor.detach().contiguous().cpu()
        if sum(each.nbytes for each in bucket.values()) >= BUCKET_BYTES:
            yield bucket
            bucket = {}
    if bucket:
        yield bucket


def read(path: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a published version, unverified, with one file at a time in memory."""
    for file in sorted(Path(path).glob("*.safetensors")):
        yield from load_file(file).items()


def fetch(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a published version; raises what `verify` raises."""
    assert weights.path is not None
    checksums: list[Tensor] = []
    tensors = dict(counted(read(weights.path), checksums))
    verify(weights, combine(checksums))
    return tensors


def verify(weights: Weights, found: str) -> None:
    """Raise DamagedFile if the checksum of what was found is not that of what was published or sent."""
    if found != weights.checksum:
        raise DamagedFile(
            f"weights version {weights.version} is damaged: its checksum is {found or 'missing'} after "
            f"topology.weight_transfer={weights.transfer}, {weights.checksum} before; start the run again to resume it"
        )

"""Checksums of weights.

`checksum` is computed on the tensor's device, on a GPU at about the speed of its memory, on a CPU faster than SHA-256.
It detects a transfer that went wrong, but does not protect against an attacker.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

ROW_WORDS = 2**16  # of 4 bytes
SLAB_ROWS = 64  # that a GPU reduces at a time: 16 MB, and 32 MB for their products


def checksum(name: str, tensor: Tensor) -> Tensor:
    """A checksum of a tensor's bits, name, type and shape, as an int64 scalar on the tensor's device.

    The bits are rows of 32-bit words w, padded with 0. With random odd keys h of the header, r of the row and k of the
    column, the checksum is h (1 + sum_ij r_i k_j w_ij) modulo 2**64: the same on every device, always different if a
    single word changes, and equal for other changes with a probability of about 2**-32 (multilinear hashing, Lemire and
    Kaser, arXiv 1202.4961).
    """
    header = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()).digest()
    key = int.from_bytes(header[:8], "little", signed=True) | 1
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    if data.numel() % 4 or data.storage_offset() % 4:
        data = torch.cat([data, data.new_zeros(-data.numel() % 4)])
    words = data.view(torch.int32)
    rows, columns = hash_keys(tensor.device)
    full = words.numel() // ROW_WORDS * ROW_WORDS
    slab = ROW_WORDS * (1 if tensor.device.type == "cpu" else SLAB_ROWS)  # on a CPU the products stay in the cache
    sums = [(part.view(-1, ROW_WORDS) * columns).sum(1) for part in words[:full].split(slab) if full]
    sums.append((words[full:] * columns[: words.numel() - full]).sum(0, keepdim=True))
    found = torch.cat(sums)
    return ((found * rows[: found.numel()]).sum() + 1) * key


@cache
def hash_keys(device: torch.device) -> Tensor:
    """Random odd integers [2, ROW_WORDS] for the rows and columns of `checksum`, the same on every device."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randint(-(2**63), 2**63 - 1, (2, ROW_WORDS), generator=generator) | 1).to(device)


def combine(checksums: Sequence[Tensor]) -> str:
    """The checksum of a version from those of its tensors, in any order; "" if there is none."""
    return f"{int(torch.stack(list(checksums)).sum()) % 2**64:016x}" if checksums else ""


def counted(tensors: Iterable[tuple[str, Tensor]], checksums: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same tensors; the checksum of each one is appended to `checksums`."""
    for name, tensor in tensors:
        checksums.append(checksum(name, tensor))
        yield name, tensor


def weights_sha256(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """The SHA-256 of names, types, shapes and values, in any order: the identity of weights across runs."""
    digests: dict[str, str] = {}
    for name, tensor in tensors:
        found = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
        digests[name] = found.hexdigest()
    return hashlib.sha256("".join(digests[name] for name in sorted(digests)).encode()).hexdigest()

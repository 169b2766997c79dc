import hashlib
import struct

import pytest
import torch

from workers.checksum import ROW_WORDS, checksum, combine, hash_keys, weights_sha256


def by_hand(name: str, tensor: torch.Tensor) -> int:
    """The formula of `checksum` with Python's integers."""
    header = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()).digest()
    data = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())
    data += bytes(-len(data) % 4)
    words = struct.unpack(f"<{len(data) // 4}i", data)
    rows, columns = hash_keys(tensor.device).tolist()
    total = sum(rows[at // ROW_WORDS] * columns[at % ROW_WORDS] * word for at, word in enumerate(words))
    return (total + 1) * (int.from_bytes(header[:8], "little") | 1) % 2**64


def of(**tensors: torch.Tensor) -> str:
    return combine([checksum(name, tensor) for name, tensor in tensors.items()])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([1, -1], dtype=torch.int32),
        torch.tensor(0.5),
        torch.tensor([1.5, -2.0, 3.0], dtype=torch.bfloat16),
        torch.zeros(0),
        torch.arange(2.0 * ROW_WORDS + 3),
        torch.arange(ROW_WORDS, dtype=torch.int32),
    ],
)
def test_the_checksum_follows_its_formula(tensor):
    assert of(a=tensor) == f"{by_hand('a', tensor):016x}"


def test_the_checksum_of_two_words_by_hand():
    rows, columns = hash_keys(torch.device("cpu")).tolist()
    header = int.from_bytes(hashlib.sha256(b"a torch.int32 (2,)").digest()[:8], "little") | 1
    expected = header * (1 + rows[0] * (7 * columns[0] - 3 * columns[1])) % 2**64
    assert of(a=torch.tensor([7, -3], dtype=torch.int32)) == f"{expected:016x}"


def test_keys_are_odd_and_distinct():
    keys = hash_keys(torch.device("cpu"))
    assert bool((keys % 2 != 0).all()) and keys.unique().numel() == 2 * ROW_WORDS


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_flipped_bit_changes_the_checksum(dtype):
    values = torch.randn(3, 5).to(dtype)
    found = {of(a=values)}
    for byte in range(values.nbytes):
        for bit in range(8):
            flipped = values.clone()
            flipped.view(-1).view(torch.uint8)[byte] ^= 1 << bit
            found.add(of(a=flipped))
    assert len(found) == 1 + 8 * values.nbytes


@pytest.mark.parametrize("places", [(0, 1), (0, 2), (4, 2 * ROW_WORDS + 4), (1, 4 * ROW_WORDS)])
def test_swapped_elements_change_the_checksum(places):
    """Within a word, within a row, between rows, and with the last, incomplete row."""
    values = torch.arange(4 * ROW_WORDS + 8).to(torch.bfloat16)
    first, second = places
    swapped = values.clone()
    swapped[[first, second]] = values[[second, first]]
    assert not torch.equal(values, swapped) and of(a=values) != of(a=swapped)


def test_no_swap_of_two_elements_of_a_row_or_column_goes_unnoticed():
    values = torch.arange(40, dtype=torch.int32)
    found = {of(a=values)}
    for first in range(40):
        for second in range(first):
            swapped = values.clone()
            swapped[[first, second]] = values[[second, first]]
            found.add(of(a=swapped))
    assert len(found) == 1 + 40 * 39 // 2


def test_swapped_missing_renamed_and_reshaped_tensors_change_the_checksum():
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    others = [
        of(a=b, b=a),
        of(a=a),
        of(b=b),
        of(a=a, c=b),
        of(a=a, b=b.view(3, 2)),
        of(a=a, b=b.view(torch.int32)),
        of(a=a, b=b, c=torch.zeros(0)),
    ]
    assert len({of(a=a, b=b), *others}) == 8


def test_tensors_may_come_in_any_order():
    a, b = torch.randn(4), torch.randn(5)
    assert of(a=a, b=b) == of(b=b, a=a)


def test_strides_and_alignment_do_not_matter():
    values = torch.randn(6, 4).to(torch.bfloat16)
    assert of(a=values.t()) == of(a=values.t().contiguous())
    assert of(a=values[:, 1]) == of(a=values[:, 1].contiguous())
    packed = torch.cat([torch.zeros(2, dtype=torch.uint8), values.view(-1).view(torch.uint8)])
    assert of(a=packed[2:].view(torch.bfloat16).view(6, 4)) == of(a=values)
    assert of(a=torch.nn.Parameter(values)) == of(a=values)


def test_the_checksum_of_no_tensors_is_empty():
    assert combine([]) == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_gpu_computes_the_same_checksum(dtype):
    values = torch.randn(70 * ROW_WORDS + 5).to(dtype)
    assert of(a=values.cuda()) == of(a=values)


def test_the_sha256_covers_values_names_shapes_and_types():
    base = weights_sha256([("a", torch.zeros(2, 3))])
    assert base == weights_sha256([("a", torch.zeros(2, 3))])
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).int()},
        {"a": torch.ones(2, 3)},
        {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)},
    ]
    assert len({weights_sha256(other.items()) for other in others} | {base}) == 6


def test_the_sha256_of_a_scalar_is_that_of_its_bytes():
    inner = hashlib.sha256(b"a torch.float32 ()" + struct.pack("<f", 1.5)).hexdigest()
    assert weights_sha256([("a", torch.tensor(1.5))]) == hashlib.sha256(inner.encode()).hexdigest()

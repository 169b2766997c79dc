import dataclasses

import torch

from grpo.grpo import make_batch, microbatches, minibatches
from tests.builders import PROBLEM, completion, group_of, grouped, random_batch


def test_rows_are_prompt_then_completion_then_padding():
    batch = make_batch(
        [group_of([1.0, 0.0], lengths=[1, 3]), group_of([0.5, 0.0])], torch.tensor([0.5, -0.5, 1.0, -1.0])
    )
    assert batch.input_ids.tolist() == [[1, 2, 3, 7, 0, 0], [1, 2, 3, 8, 9, 10], [1, 2, 3, 7, 8, 0], [1, 2, 3, 8, 9, 0]]
    assert batch.mask.tolist()[:2] == [[True, False, False], [True, True, True]]
    assert batch.num_tokens == 8 and batch.lengths.tolist() == [4, 6, 5, 5]
    assert batch.behavior_logprobs.tolist()[:2] == [[-1, 0, 0], [-1, -1, -1]]
    assert batch.rewards.tolist() == [1.0, 0.0, 0.5, 0.0] and batch.group_ids.tolist() == [0, 0, 1, 1]
    assert batch.advantages.tolist() == [[0.5, 0, 0], [-0.5, -0.5, -0.5], [1, 1, 0], [-1, -1, 0]]
    assert torch.equal(batch.loss_mask, batch.mask)


def test_truncated_completions_carry_no_loss_if_requested():
    cut = dataclasses.replace(completion([7, 8]), finish_reason="length")
    groups = [grouped(PROBLEM, [completion([7]), cut])]
    assert make_batch(groups, torch.zeros(2), mask_truncated=True).loss_mask.tolist() == [[True, False], [False, False]]
    assert make_batch(groups, torch.zeros(2)).loss_mask.tolist() == [[True, False], [True, True]]


def test_microbatches_contain_every_row_once_and_respect_the_limit():
    batch = random_batch([1, 9, 4, 6, 2, 9, 3])
    seen = []
    for index, part in microbatches(batch, max_tokens=18):
        seen += index.tolist()
        assert 3 + part.num_tokens <= 18  # one prompt of 3 tokens for all of them
        assert torch.equal(part.input_ids, batch.input_ids[index, : part.input_ids.shape[1]])
        assert torch.equal(part.advantages, batch.advantages[index, : part.mask.shape[1]])
    assert seen == list(range(7))


def test_microbatches_are_filled_with_distinct_tokens():
    batch = make_batch([group_of([0.0] * 3, [5, 5, 5]), group_of([0.0] * 2, [5, 5])], torch.zeros(5))
    # 3 + 5 + 5 tokens, then 3 + 5 of the same group and 3 + 5 of the next, then 3 + 5
    assert [index.tolist() for index, _ in microbatches(batch, max_tokens=16)] == [[0, 1], [2, 3], [4]]


def test_ranks_get_equally_many_microbatches():
    batch = random_batch([4] * 6)
    shares = [[index.tolist() for index, _ in microbatches(batch, 11, rank, 2)] for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    assert sorted(row for share in shares for part in share for row in part) == list(range(6))


def test_a_row_longer_than_the_limit_is_a_part_of_its_own():
    assert [len(index) for index, _ in microbatches(random_batch([9, 9]), max_tokens=5)] == [1, 1]


def test_minibatches_are_equal_parts_of_every_group():
    parts = list(minibatches(random_batch([2, 3, 4, 5]), count=2))
    assert [part.mask.sum(1).tolist() for part in parts] == [[2, 4], [3, 5]]

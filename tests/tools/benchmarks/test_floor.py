import pytest

from tools.benchmarks.floor import Tokens, attended_pairs, floor, forward_flops
from tools.planner.shape import Shape

# Two layers of 100 weights, hidden size 4, attention width 4, and a vocabulary of 10.
SHAPE = Shape(
    parameters=240,
    matrix_parameters=240,
    layer_parameters=100,
    outer_parameters=40,
    layers=2,
    hidden=4,
    intermediate=8,
    attention_width=4,
    kv_width=4,
    vocabulary=10,
)


def test_a_prompt_is_attended_to_once_per_group_and_completions_do_not_see_each_other():
    # Prompt of 3: 1 + 2 + 3 pairs. Each of two completions of 2 tokens: 4 + 5 pairs.
    assert attended_pairs(Tokens(1, 2, 3, 2)) == 6 + 2 * 9
    assert attended_pairs(Tokens(5, 2, 3, 2)) == 5 * 24


def test_forward_operations_worked_by_hand():
    # 1 x 3 + 2 x 2 = 7 distinct tokens through 200 weights: 2,800. Logits of 4 tokens, 40 weights: 320. 24 pairs in
    # two layers, keys and values of width 4: 24 x 2 x 4 x 4 = 768.
    assert forward_flops(SHAPE, Tokens(1, 2, 3, 2)) == 2_800 + 320 + 768


def test_the_update_is_three_forward_passes_and_the_reference_another():
    tokens = Tokens(1, 2, 3, 2)
    without, with_reference = floor(SHAPE, tokens, False), floor(SHAPE, tokens, True)
    assert (without.generate, without.logprobs, without.update) == (3_888, 0, 3 * 3_888)
    assert with_reference.total - without.total == 3_888
    assert with_reference.training == 4 * 3_888


def test_a_longer_prompt_costs_the_group_only_once():
    def layers_and_attention(group_size):
        short, long = (forward_flops(SHAPE, Tokens(1, group_size, prompt, 1)) for prompt in (1, 2))
        return long - short

    # One more prompt token: 400 operations in the layers, 2 pairs of its own, and one more pair per completion.
    assert layers_and_attention(2) == pytest.approx(400 + 32 * (2 + 2))
    assert layers_and_attention(8) == pytest.approx(400 + 32 * (2 + 8))

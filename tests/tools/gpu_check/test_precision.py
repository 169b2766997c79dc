"""Rounding: what the stage measures on a CPU, and what fails it."""

from dataclasses import replace

import pytest
import torch

from tools.gpu_check.precision import (
    BFLOAT16,
    FLOAT32,
    Computed,
    cosine_of,
    differences,
    measure,
    relative_difference,
)
from tools.gpu_check.stage import Setup


def computed() -> Computed:
    return Computed(torch.full((2, 3), -1.0), 0.5, [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])])


def failed(one: Computed, bounds=FLOAT32) -> list[str]:
    return [each.name.split(": ")[1] for each in differences("x", one, computed(), bounds) if not each.passed]


def test_a_computation_equals_itself():
    assert failed(computed()) == []


def test_a_single_wrong_log_probability_fails():
    logprobs = torch.full((2, 3), -1.0)
    logprobs[1, 2] += 0.002
    assert failed(replace(computed(), logprobs=logprobs)) == ["log-probabilities, largest", "log-probabilities, mean"]
    assert failed(replace(computed(), logprobs=logprobs), BFLOAT16) == []


def test_a_gradient_in_another_direction_or_of_another_size_fails():
    turned = [torch.tensor([3.0, 2.0]), torch.tensor([[4.0]])]
    assert failed(replace(computed(), gradient=turned), BFLOAT16) == ["gradient, relative", "gradient, cosine"]
    doubled = [2 * tensor for tensor in computed().gradient]
    assert failed(replace(computed(), gradient=doubled), BFLOAT16) == ["gradient, relative"]


def test_gradients_are_compared_as_one_vector():
    one, other = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], [torch.tensor([3.0, 5.0]), torch.tensor([[4.0]])]
    assert relative_difference(one, other) == pytest.approx((25 / 50) ** 0.5)
    assert cosine_of(one, other) == pytest.approx(25 / (5 * 50**0.5))


def test_bfloat16_is_less_exact_than_float32_but_within_its_bounds(tmp_path):
    found = {each.name: each for each in measure(Setup("cpu", "qwen-0.5b", None, tmp_path / "precision", 60.0))}
    assert all(each.passed is not False for each in found.values())
    assert found["device - CPU: log-probabilities, largest"].value == 0
    assert 1e-4 < found["bfloat16 - float32: log-probabilities, largest"].value < 0.1

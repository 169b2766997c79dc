import math

import pytest
import torch

from grpo.correction import mismatch_weights
from grpo.settings import CorrectionConfig

MASK = torch.tensor([[True, True, False], [True, True, True]])


def weights(level: str, mode: str, low: float = 0.5, high: float = 2.0) -> torch.Tensor:
    # mismatch ratios 3, 1/2 | 1/4, 1, 1; the value outside the mask must have no effect
    old = torch.tensor([[3.0, 0.5, 7.0], [0.25, 1.0, 1.0]]).log()
    return mismatch_weights(old, torch.zeros(2, 3), MASK, CorrectionConfig(level, mode, low, high))[MASK]


@pytest.mark.parametrize(
    ("level", "mode", "expected"),
    [
        ("none", "truncate", [1, 1, 1, 1, 1]),
        ("token", "truncate", [2, 0.5, 0.25, 1, 1]),  # 3 is cut to 2
        ("token", "mask", [0, 0.5, 0, 1, 1]),  # 3 and 1/4 are outside 1/2..2
        ("sequence", "truncate", [1.5, 1.5, 0.25, 0.25, 0.25]),  # 3 * 1/2 and 1/4 * 1 * 1
        ("sequence", "mask", [1.5, 1.5, 0, 0, 0]),
    ],
)
def test_weights_by_hand(level, mode, expected):
    assert torch.allclose(weights(level, mode), torch.tensor(expected, dtype=torch.float32))


def test_small_gaps_add_up_over_a_long_completion():
    old = torch.full((1, 100), 0.01)
    found = mismatch_weights(
        old, torch.zeros(1, 100), torch.ones(1, 100, dtype=torch.bool), CorrectionConfig("sequence", high=5)
    )
    assert found[0, 0].item() == pytest.approx(math.e, rel=1e-4)


def test_the_weighted_mean_under_the_sampler_equals_the_mean_under_the_trainer():
    """The purpose of importance weights: the sampler draws the tokens, the trainer needs the mean of its own policy."""
    trainer, sampler = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])
    values = torch.tensor([1.0, -2.0, 5.0])
    found = mismatch_weights(
        trainer.log()[None], sampler.log()[None], torch.ones(1, 3, dtype=torch.bool), CorrectionConfig("token")
    )
    assert torch.allclose((sampler * found[0] * values).sum(), (trainer * values).sum())

"""A sharded actor against a single process."""

from dataclasses import replace

import pytest
import torch

from tools.gpu_check.ranks import Trained, compare, config_of, measure, train_sharded, updated
from tools.gpu_check.stage import Setup
from workers.placement import free_address
from workers.rank_group import RankInfo

ALONE = Trained(
    torch.zeros(2, 4, 3), [{"loss": 0.5, "grad_norm": 2.0}, {"loss": 0.4, "grad_norm": 1.0}], [torch.ones(3)], 1.0
)


def failed(sharded: Trained, dtype: str = "float32") -> list[str]:
    return [each.name for each in compare(dtype, ALONE, sharded) if each.passed is False]


def test_equal_actors_pass():
    assert failed(ALONE) == []


def test_a_difference_in_the_second_update_fails():
    later = [ALONE.metrics[0], {"loss": 0.41, "grad_norm": 1.005}]
    assert failed(replace(ALONE, metrics=later)) == ["float32: loss", "float32: gradient norm"]
    assert failed(replace(ALONE, metrics=later), "bfloat16") == []


def test_weights_that_did_not_change_fail():
    assert failed(replace(ALONE, changes=[torch.zeros(3)])) == ["float32: changes of the weights"]


def test_log_probabilities_of_other_weights_fail():
    assert failed(replace(ALONE, logprobs=torch.full((2, 4, 3), 0.2)), "bfloat16") == ["bfloat16: log-probabilities"]


def test_a_single_rank_is_sharded_and_agrees_with_a_process_without_fsdp(tmp_path):
    setup = Setup("cpu", "qwen-0.5b", None, tmp_path / "ranks", 60.0)
    cfg = config_of(setup, "float32")
    info = RankInfo(size=1, address=free_address(None, local=True))
    found = list(compare("float32", updated(setup, cfg, info, 1), train_sharded(setup, cfg, info)))
    assert [each.passed for each in found].count(True) == 4
    assert all(each.passed is not False for each in found)
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_two_ranks_on_a_cpu_agree_with_one_process(tmp_path):
    found = list(measure(Setup("cpu", "qwen-0.5b", None, tmp_path / "ranks", 120.0)))
    assert found[0].value == 2
    assert all(each.passed is not False for each in found)
    assert [each.passed for each in found].count(True) == 7

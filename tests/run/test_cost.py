import time

import pytest

from conf.schema import CostConfig
from run.cost import DEFAULT_PRICE, Meter, Price, Progress, budget_exceeded, dollars, gpu_model, price_of
from run.folder import RunFolder


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA Something", "NVIDIA Something"),
    ],
)
def test_the_gpu_model_is_recognized_in_a_device_name(name, model):
    assert gpu_model(name) == model


def test_a_configured_price_precedes_the_table_and_the_default():
    assert price_of(CostConfig(usd_per_hour=3.5), None, ["NVIDIA L4"] * 2).usd_per_hour == 3.5
    assert price_of(CostConfig(usd_per_gpu_hour=3.0), None, ["NVIDIA L4"] * 2).usd_per_hour == 6.0
    assert price_of(CostConfig(), None, ["NVIDIA L4"] * 2).usd_per_hour == pytest.approx(0.88)
    assert price_of(CostConfig(), None, ["NVIDIA Something"]).usd_per_hour == DEFAULT_PRICE
    assert price_of(CostConfig(), None, []).usd_per_hour == 0


def test_a_budget_for_a_free_run_is_an_error():
    with pytest.raises(
        ValueError,
        match="budget.usd=30 has no effect on a run that costs nothing; set a price",
    ):
        price_of(CostConfig(), 30, [])


def meter(seconds: float, usd_per_hour: float = 3600.0, watts: float = 0.0) -> Meter:
    price = Price(usd_per_hour, watts, "")
    return Meter(seconds, seconds / 3600 * usd_per_hour, price, started=time.monotonic())


def test_small_amounts_have_four_decimals():
    shown = {0.0: "0.00", 0.0032: "0.0032", 0.0999: "0.0999", 0.1: "0.10", 1234.567: "1,234.57"}
    assert {usd: dollars(usd) for usd in shown} == shown


def test_dollars_so_far_and_projected_by_hand():
    # $1 per second, 100 seconds, a quarter of the run done, 5,000 tokens, 720 W
    found = meter(100, watts=720).metrics(share_done=0.25, tokens=5000)
    assert found["cost/usd"] == pytest.approx(100, abs=0.1)
    assert found["cost/usd_projected"] == pytest.approx(400, abs=0.4)
    assert found["cost/tokens_per_usd"] == pytest.approx(50, abs=0.1)
    assert found["cost/kwh"] == pytest.approx(0.02, abs=1e-4)


def test_a_free_run_has_no_tokens_per_dollar():
    assert set(meter(100, usd_per_hour=0).metrics(0.5, 10)) == {"cost/seconds", "cost/usd", "cost/usd_projected"}


def test_earlier_starts_of_a_run_are_counted_and_so_are_steps_that_are_repeated(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_spent() == (0.0, 0.0)
    for step in range(3):
        folder.add_metrics({"step": step, "cost/seconds": 10.0 * (step + 1), "cost/usd": 2.0 * (step + 1)})
    assert folder.read_spent() == (30.0, 6.0)
    folder.write_spent(35.0, 7.0)  # a checkpoint after the last line
    folder.rewind(1)
    assert folder.read_spent() == (35.0, 7.0)


def test_hours_on_another_machine_keep_their_price():
    # 10 hours for $27 on one machine, then an hour at $0.34 on another
    found = Meter(36000, 27.0, Price(0.34, 0.0, ""), started=time.monotonic() - 3600)
    assert found.usd == pytest.approx(27.34, abs=0.01)


def test_the_budget_reserves_the_cost_of_a_step_and_of_the_ending():
    # $1 per second; a step of up to 10 s, an evaluation of 4 s and a checkpoint of 2 s remain: 1.5 x 16 s = $24
    progress = Progress(100)
    progress.add({"time/step": 8.0, "time/evaluate": 4.0})
    progress.add({"time/step": 10.0, "time/checkpoint": 2.0})
    assert not budget_exceeded(100, meter(75), progress)
    assert budget_exceeded(100, meter(77), progress)
    assert not budget_exceeded(None, meter(1e9), progress)

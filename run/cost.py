"""What a run costs: hours by price, from the moment it starts its workers, every start of it counted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# Dollars an hour of one GPU: the lowest that RunPod lists for it, as reported by deploybase.ai on
# 2026-03-10. Prices move and differ by a factor of two between sellers: give your own by
# cost.usd_per_gpu_hour.
PRICES = {
    "RTX 3090": 0.22,
    "RTX 4090": 0.34,
    "L4": 0.44,
    "L40S": 0.79,
    "A6000": 0.86,  # 0.00024 a second: an active worker in RunPod's own serverless table
    "A10G": 1.01,  # AWS g5.xlarge, on demand
    "A100": 1.39,
    "H100": 2.69,
    "H200": 3.59,
    "B200": 5.98,
}
DEFAULT_PRICE = 2.0  # of a GPU that is not in the table: the rate that DeepSeek reckons with for an H800
RECENT_STEPS = 10
RESERVE = 1.5  # times the last duration of what still has to be done when the budget is near


@dataclass(frozen=True)
class Price:
    """usd_per_hour and watts of everything that the run rents; `source` says where the price is from."""

    usd_per_hour: float
    watts: float
    source: str


FREE = Price(0.0, 0.0, "a CPU of one's own")


def price_of(cost: Any, budget_usd: float | None, gpus: Sequence[str]) -> Price:
    """The price of a run on these GPUs, by their names, none for a CPU; `cost` is a CostConfig.

    Raises:
        ValueError: there is a budget, and nothing costs anything.
    """
    price = _price_of(cost, gpus)
    if budget_usd is not None and price.usd_per_hour == 0:
        raise ValueError(f"budget.usd={budget_usd} would last for ever at no cost; give the price, cost.usd_per_hour=2")
    return price


def _price_of(cost: Any, gpus: Sequence[str]) -> Price:
    watts = cost.watts or 0.0
    if cost.usd_per_hour is not None:
        return Price(cost.usd_per_hour, watts, "cost.usd_per_hour")
    if not gpus:
        return replace(FREE, watts=watts)
    if cost.usd_per_gpu_hour is not None:
        return Price(len(gpus) * cost.usd_per_gpu_hour, watts, "cost.usd_per_gpu_hour")
    known = [PRICES.get(kind_of(name), DEFAULT_PRICE) for name in gpus]
    named = "the table of run/cost.py" if kind_of(gpus[0]) in PRICES else "the default for an unknown GPU"
    return Price(sum(known), watts, f"{named}, {len(gpus)} x {gpus[0]}")


def kind_of(name: str) -> str:
    """The kind in PRICES of a device that calls itself "NVIDIA A100-SXM4-80GB"; itself where none fits."""
    words = name.replace("-", " ").replace("GeForce ", "").split()
    for kind in PRICES:
        parts = kind.split()
        if any(words[place : place + len(parts)] == parts for place in range(len(words))):
            return kind
    return name


@dataclass
class Meter:
    """Counts from its making on; `seconds_before` were spent by earlier starts of the run."""

    seconds_before: float = 0.0
    price: Price = FREE
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    @property
    def usd(self) -> float:
        return self.seconds / 3600 * self.price.usd_per_hour

    def metrics(self, share_done: float, tokens: int) -> dict[str, float]:
        """Dollars so far and when all is done, if it goes on as it went; energy where watts are given."""
        named = {"cost/seconds": self.seconds, "cost/usd": self.usd}
        if share_done > 0:
            named["cost/usd_projected"] = self.usd / share_done
        if self.usd > 0:
            named["cost/tokens_per_usd"] = tokens / self.usd
        if self.price.watts:
            named["cost/kwh"] = self.seconds / 3600 * self.price.watts / 1000
        return named


def seconds_before(rows: Sequence[Mapping[str, Any]]) -> float:
    """What earlier starts of a run spent, by its metric rows."""
    return max((row["cost/seconds"] for row in rows if "cost/seconds" in row), default=0.0)


def budget_exceeded(budget_usd: float | None, meter: Meter, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Another step, then the last evaluation and a checkpoint, would cost more than the budget has left."""
    if budget_usd is None:
        return False
    steps = [row["time/step"] for row in rows if "time/step" in row][-RECENT_STEPS:]
    ending = [row.get("time/evaluate", 0.0) + row.get("time/checkpoint", 0.0) for row in rows]
    ahead = max(steps, default=0.0) + max(ending, default=0.0)
    return meter.usd + RESERVE * ahead / 3600 * meter.price.usd_per_hour > budget_usd

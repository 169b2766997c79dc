"""How far a run has come, and what it has used so far: time, dollars, energy and memory."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from conf.schema import CostConfig

# US dollars per hour of one GPU: the lowest RunPod price as reported by deploybase.ai on 2026-03-10. Prices
# change over time and differ by a factor of two between providers; override them with cost.usd_per_gpu_hour.
PRICES = {
    "RTX 3090": 0.22,
    "RTX 4090": 0.34,
    "L4": 0.44,
    "L40S": 0.79,
    "A6000": 0.86,  # $0.00024 per second of an active worker in RunPod's own serverless price list
    "A10G": 1.01,  # AWS g5.xlarge, on demand
    "A100": 1.39,
    "H100": 2.69,
    "H200": 3.59,
    "B200": 5.98,
}
DEFAULT_PRICE = 2.0  # for GPUs missing from the table: the rental price DeepSeek assumes for an H800
RECENT_STEPS = 10  # the window for the pace of a run and for the longest recent step
RESERVE = 1.5  # safety factor on the cost of the work that remains when the budget is nearly used up


@dataclass(frozen=True)
class Price:
    """The hourly price of everything a run rents, its power draw, and where the price comes from."""

    usd_per_hour: float
    watts: float
    source: str


FREE = Price(0.0, 0.0, "no GPU")


def price_of(cost: "CostConfig", budget_usd: float | None, gpus: Sequence[str]) -> Price:
    """The price of a run on the named GPUs; an empty sequence means a run on CPUs, which is free.

    Raises:
        ValueError: a budget is set, but the run costs nothing.
    """
    if cost.usd_per_hour is not None:
        usd_per_hour, source = cost.usd_per_hour, "cost.usd_per_hour"
    elif not gpus:
        usd_per_hour, source = FREE.usd_per_hour, FREE.source
    elif cost.usd_per_gpu_hour is not None:
        usd_per_hour, source = len(gpus) * cost.usd_per_gpu_hour, "cost.usd_per_gpu_hour"
    else:
        usd_per_hour = sum(PRICES.get(gpu_model(name), DEFAULT_PRICE) for name in gpus)
        table = "the table in run/cost.py" if gpu_model(gpus[0]) in PRICES else "the default for an unknown GPU"
        source = f"{table}, {len(gpus)} x {gpus[0]}"
    if budget_usd is not None and usd_per_hour == 0:
        raise ValueError(
            f"budget.usd={budget_usd} has no effect on a run that costs nothing; set a price, such as "
            "cost.usd_per_hour=2, or remove the budget"
        )
    return Price(usd_per_hour, cost.watts or 0.0, source)


def gpu_model(name: str) -> str:
    """The key of PRICES for a device name such as "NVIDIA A100-SXM4-80GB"; the name itself if no key matches."""
    words = name.replace("-", " ").replace("GeForce ", "").split()
    for model in PRICES:
        parts = model.split()
        if any(words[start : start + len(parts)] == parts for start in range(len(words))):
            return model
    return name


@dataclass
class Meter:
    """Measures time and money from its creation, on top of what earlier starts of the run have spent, maybe on another
    machine."""

    seconds_before: float = 0.0
    usd_before: float = 0.0
    price: Price = FREE
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    @property
    def usd(self) -> float:
        return self.usd_before + (self.seconds - self.seconds_before) / 3600 * self.price.usd_per_hour

    def metrics(self, share_done: float, tokens: int) -> dict[str, float]:
        """Dollars spent so far and projected for the whole run at the present rate; energy if the power is known.

        Args:
            share_done: how much of the run is done, 0..1.
            tokens: completion tokens generated so far.
        """
        named = {"cost/seconds": self.seconds, "cost/usd": self.usd}
        if share_done > 0:
            named["cost/usd_projected"] = self.usd / share_done
        if self.usd > 0:
            named["cost/tokens_per_usd"] = tokens / self.usd
        if self.price.watts:
            named["cost/kwh"] = self.seconds / 3600 * self.price.watts / 1000
        return named


def budget_exceeded(budget_usd: float | None, meter: Meter, progress: "Progress") -> bool:
    """Whether one more step, the final evaluation and a checkpoint could cost more than what is left of the budget."""
    if budget_usd is None:
        return False
    remaining_seconds = max(progress.recent_seconds, default=0.0) + sum(progress.longest.values())
    return meter.usd + RESERVE * remaining_seconds / 3600 * meter.price.usd_per_hour > budget_usd


@dataclass
class Progress:
    """How far a run has come. It ends after `num_steps` steps, or earlier with the step that reaches `num_tokens`.

    steps           training steps so far
    tokens          completion tokens so far
    recent_seconds  of the last RECENT_STEPS steps
    longest         the longest time of an evaluation and that of a checkpoint, in seconds, by the name of the metric
    """

    num_steps: int
    num_tokens: int | None = None
    steps: int = 0
    tokens: int = 0
    recent_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    longest: dict[str, float] = field(default_factory=lambda: {"time/evaluate": 0.0, "time/checkpoint": 0.0})

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a line of metrics.jsonl."""
        self.tokens += int(step_tokens(row))
        self.longest = {name: max(seconds, row.get(name, 0.0)) for name, seconds in self.longest.items()}
        if "time/step" in row:
            self.steps += 1
            self.recent_seconds.append(row["time/step"])

    @property
    def share(self) -> float:
        """How much of the run is done, 0..1: by steps or by tokens, whichever is closer to its limit."""
        by_tokens = self.tokens / self.num_tokens if self.num_tokens else 0.0
        return min(1.0, max(self.steps / self.num_steps, by_tokens))

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the recent steps; None before the first step and after the last."""
        share = self.share
        if not self.steps or share == 1:
            return None
        return self.steps * (1 - share) / share * sum(self.recent_seconds) / len(self.recent_seconds)

    def step_label(self, step: int) -> str:
        if self.num_tokens is None:
            return f"step {step}/{self.num_steps}"
        return f"step {step}, {self.tokens:,}/{self.num_tokens:,} tokens"


def is_complete(steps: float, tokens: float, num_steps: int, num_tokens: int | None) -> bool:
    """Whether a run has reached `num_steps` or, if it is set, `num_tokens`."""
    return steps >= num_steps or (num_tokens is not None and tokens >= num_tokens)


def dollars(usd: float) -> str:
    """An amount without its unit, with four decimals below ten cents, since small runs cost less than one."""
    return f"{usd:,.{4 if 0 < usd < 0.1 else 2}f}"


def step_tokens(row: Mapping[str, Any]) -> float:
    """Completion tokens of a training step: those that were generated, or those of the examples; 0 for a row without
    a step."""
    return row.get("rollout/tokens", row.get("data/tokens", 0.0))


def resident_gb() -> float:
    """Resident memory of this process and its descendants in GiB; memory they share is counted once per process."""
    this = psutil.Process()
    total = 0
    for process in (this, *this.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended after it was listed
            continue
    return total / 2**30

"""The aha event: the step at which a reflection rate leaves the confidence band around its step-0 rate for good.

Base models reflect before any training (Understanding R1-Zero, arXiv 2503.20783), so the mere presence of a
behaviour proves nothing. A rate that leaves the band expected from chance and stays outside does.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from envs.behaviors import SHOWN

Row = Mapping[str, Any]
PREFIX = "reflection"
# Half the width of the band, in standard errors. It is wide because step 0 and the later steps are both noisy,
# completions of one problem are correlated, and six measures are watched over dozens of steps. In simulated runs
# of 60 steps without change (32 problems x 8 completions), 5.5 raises a false alarm in 0-1% of the runs if
# completions are independent, and in 0-4% if they correlate by 0.1 within a problem. The correlation measured
# on the tiny model is 0.0-0.12.
Z = 5.5
PATIENCE = 3  # consecutive rows, up to the last, that must be outside the band on the same side


@dataclass(frozen=True)
class AhaMoment:
    """The share of completions that show `measure` has been outside its step-0 band since `step`.

    before  the share at step 0
    after   the share at the last step
    band    the lowest and the highest share that count as unchanged
    """

    step: int
    measure: str
    before: float
    after: float
    band: tuple[float, float]

    @property
    def rose(self) -> bool:
        return self.after > self.before

    @property
    def sentence(self) -> str:
        measure = self.measure.replace("_", " ")
        verb, side, edge = ("rose", "above", "upper") if self.rose else ("fell", "below", "lower")
        bound = self.band[1] if self.rose else self.band[0]
        return (
            f"From step {self.step} on, {measure} stayed {side} {bound:.1%}, the {edge} edge of the confidence band "
            f"around its step-0 rate: it {verb} from {self.before:.1%} to {self.after:.1%} of completions."
        )


@dataclass
class Streak:
    """The newest rows of a run in which the share of a measure is outside of its step-0 band, on one side.

    before  the share at step 0
    side    1 above the band, -1 below it, 0 inside
    first   the step at which the streak began
    last    the newest share
    """

    before: float
    band: tuple[float, float]
    side: int = 0
    first: int = 0
    count: int = 0
    last: float = 0.0

    def add(self, step: int, share: float) -> None:
        side = (share > self.band[1]) - (share < self.band[0])
        if side != self.side:
            self.side, self.first, self.count = side, step, 0
        self.count, self.last = self.count + 1, share


class AhaWatch:
    """Watches the rows of a run, one after the other, for measures that leave their step-0 band for good.

    Rows without reflection metrics (evaluations) are ignored. Without a row for step 0 there is no band, and therefore
    no event.
    """

    def __init__(self) -> None:
        self.streaks: dict[str, Streak] = {}

    def add(self, row: Row) -> None:
        for measure in SHOWN:
            share = row.get(f"{PREFIX}/{measure}")
            if share is None:
                continue
            if measure in self.streaks:
                self.streaks[measure].add(int(row["step"]), share)
            elif row["step"] == 0 and (n := row.get(f"{PREFIX}/n", 0)) >= 1:
                self.streaks[measure] = Streak(share, band(share, n))

    def moments(self) -> list[AhaMoment]:
        """The aha events so far, at most one per measure in SHOWN, ordered by step. A measure that has returned to its
        band is no longer reported."""
        found = [
            AhaMoment(streak.first, measure, streak.before, streak.last, streak.band)
            for measure in SHOWN
            if (streak := self.streaks.get(measure)) is not None and streak.side and streak.count >= PATIENCE
        ]
        return sorted(found, key=lambda moment: moment.step)


def band(share: float, n: float) -> tuple[float, float]:
    """`share` +- Z standard errors, for a share of n >= 1 completions, clipped to 0..1.

    The standard error is that of the share after adding two successes and two failures (Agresti and Coull), so
    that it is positive for 0% and 100% too."""
    smoothed = (share * n + 2) / (n + 4)
    half = Z * math.sqrt(smoothed * (1 - smoothed) / (n + 4))
    return max(0.0, share - half), min(1.0, share + half)


def first_sample(samples: Iterable[Row], moment: AhaMoment) -> Row | None:
    """The first correct sample at or after the event that shows the measure (or lacks it, if the rate fell).

    A held-out problem that was failed at step 0 is preferred, then any held-out problem, then a training problem.
    Returns None if there is no such sample.

    Args:
        samples: the rows of samples.jsonl in file order, step 0 first.
    """
    failed: set[tuple[str, str]] = set()
    best: Row | None = None
    best_rank = 3
    for row in samples:
        held_out = row["kind"] != "train"
        if row["step"] == 0 and held_out and not row["correct"]:
            failed.add((row["kind"], row["key"]))
        if row["step"] < moment.step or not row["correct"]:
            continue
        rank = 0 if (row["kind"], row["key"]) in failed else 1 if held_out else 2
        if rank < best_rank and (moment.measure in row["behaviors"]) == moment.rose:
            best, best_rank = row, rank
        if best_rank == 0:
            break
    return best

"""The aha event: the step at which a reflection measure leaves its step-0 band for good.

Base models reflect before any training (understand-r1-zero, arXiv 2503.20783), so a behaviour that is
there proves nothing; a rate that leaves what chance allows around step 0, and stays away, does.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envs.behaviors import SHOWN

Row = Mapping[str, Any]
PREFIX = "reflection"
# Half of the band in standard errors. Step 0 and the later steps both err, completions of one problem are
# alike, and six measures are watched over dozens of steps: in simulated runs of 60 steps without change
# (32 problems x 8 completions) 5.5 gives a false alarm in 0-1% of runs where completions are independent,
# and in 0-4% where they correlate by 0.1 within a problem. The tiny model's correlate by 0.0-0.12.
Z = 5.5
PATIENCE = 3


@dataclass(frozen=True)
class AhaMoment:
    """From `step` on the share `measure` of completions was outside its step-0 band.

    before  the share at step 0
    after   the share at the last step there is
    band    the least and the greatest share that count as no change
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
        way, side, bound = ("rose", "above", self.band[1]) if self.rose else ("fell", "below", self.band[0])
        return (
            f"From step {self.step} on, {self.measure.replace('_', ' ')} stayed {side} {bound:.1%}, the bound of "
            f"chance around its step 0: it {way} from {self.before:.1%} to {self.after:.1%} of completions."
        )


def find_aha(rows: Sequence[Row], patience: int = PATIENCE) -> list[AhaMoment]:
    """The events of a run so far, by step, of each measure of SHOWN at most one.

    Asked while a run goes on, it names what holds so far: a measure that comes back into its band
    later on is named no more. Rows without reflection metrics (evaluations) are passed over; without
    a row of step 0 there is nothing to compare with, and no event.

    rows      of metrics.jsonl, with `reflection/<measure>` and `reflection/n`, in the order of steps
    patience  how many rows in a row, the last one included, must be outside, on the same side

    Raises:
        ValueError: patience is below 1.
    """
    if patience < 1:
        raise ValueError(f"patience must be >= 1, got {patience}")
    found = [moment for measure in SHOWN if (moment := _left_its_band(rows, measure, patience)) is not None]
    return sorted(found, key=lambda moment: moment.step)


def band(share: float, n: float) -> tuple[float, float]:
    """`share` +- Z standard errors of a share that was counted over n >= 1 completions. Two more of each
    kind are added for the error alone, so that 0% and 100% have one too (Agresti and Coull)."""
    smoothed = (share * n + 2) / (n + 4)
    half = Z * math.sqrt(smoothed * (1 - smoothed) / (n + 4))
    return max(0.0, share - half), min(1.0, share + half)


def _left_its_band(rows: Sequence[Row], measure: str, patience: int) -> AhaMoment | None:
    name = f"{PREFIX}/{measure}"
    start = next((row for row in rows if row["step"] == 0 and row.get(f"{PREFIX}/n", 0) >= 1 and name in row), None)
    if start is None:
        return None
    low, high = band(start[name], start[f"{PREFIX}/n"])
    first, last, count, side = None, None, 0, 0
    for row in reversed(rows):
        if name not in row:
            continue
        here = (row[name] > high) - (row[name] < low)
        if here == 0 or (last is not None and here != side):
            break
        first, side, last, count = row, here, last or row, count + 1
    if first is None or last is None or count < patience:
        return None
    return AhaMoment(int(first["step"]), measure, start[name], last[name], (low, high))


def first_sample(samples: Iterable[Row], moment: AhaMoment) -> Row | None:
    """The first correct sample at or after the event that shows what rose (or lacks what fell).

    A held-out problem that was failed at step 0 is preferred, then any held-out one, then one of
    training; None where there is none.

    samples  rows of samples.jsonl, in their order, those of step 0 first
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
        if rank < best_rank and shows(row, moment.measure) == moment.rose:
            best, best_rank = row, rank
        if best_rank == 0:
            break
    return best


def shows(sample: Row, measure: str) -> bool:
    """Whether the completion of a row of samples.jsonl shows a measure of SHOWN, as stored with the row."""
    return measure in sample.get("behaviors", ())

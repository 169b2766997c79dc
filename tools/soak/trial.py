"""A trial: which fault hits which process at which moment."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tools.gpu_check.runs import TrainingRun


@dataclass(frozen=True)
class Trial:
    """
    fault     a function of tools/soak/faults.py
    target    the process that it hits, of PROCESSES; "" if it hits the whole run
    moment    what the run is doing then, of MOMENTS
    step      steps that the run has finished by then, at least
    fraction  of the moment's usual duration that has passed, from 0 to 1
    limit_s   how long a start may take; None until the duration of an undisturbed run is known
    """

    number: int
    fault: "Fault"
    target: str
    moment: str
    step: int
    fraction: float
    limit_s: float | None = None

    @property
    def name(self) -> str:
        return f"{self.target} {self.fault.__name__}".replace("_", " ").strip()

    @property
    def when(self) -> str:
        return self.moment if self.moment == "start" else f"{self.moment}, step {self.step}"


Fault = Callable[[TrainingRun, Trial], AbstractContextManager[None]]

"""The choice of trials: a function of the seed and of the number of the trial."""

import os
import random
from collections.abc import Sequence

from tools.soak import faults
from tools.soak.runs import MOMENTS, PROCESSES, STEPS
from tools.soak.trial import Fault, Trial

Kind = tuple[Fault, str]  # a fault and its target

WORKERS = ("actor", "reference", "rollout")
DAMAGES: tuple[Fault, ...] = (faults.flipped_bit, faults.truncated_file, faults.missing_file)  # of a checkpoint
WHOLE_RUN: tuple[Fault, ...] = (*DAMAGES, faults.full_disk, faults.started_twice, faults.sigterm_twice)


def possible_kinds() -> list[Kind]:
    """All kinds of faults that this process can cause on this machine."""
    kinds: list[Kind] = [(faults.killed, process) for process in PROCESSES]
    kinds += [(fault, worker) for fault in (faults.stopped, faults.out_of_memory) for worker in WORKERS]
    kinds += [(fault, "") for fault in WHOLE_RUN]
    # Without the right to mount, a folder is read-only by its permissions, which do not bind root.
    return [*kinds, (faults.read_only_outputs, "")] if faults.can_mount() or os.geteuid() else kinds


def make_trial(seed: int, number: int, kinds: Sequence[Kind]) -> Trial:
    """The trial with this number, counted from 0. Every kind comes once before one of them comes again."""
    lap, position = divmod(number, len(kinds))
    fault, target = random.Random(f"{seed}/lap/{lap}").sample(kinds, len(kinds))[position]
    draw = random.Random(f"{seed}/trial/{number}")
    needs_checkpoint = fault in DAMAGES
    moment = draw.choice(MOMENTS[1:] if needs_checkpoint else MOMENTS)
    step = 0 if moment == "start" else draw.randrange(2 if needs_checkpoint else 0, STEPS)
    return Trial(number, fault, target, moment, step, draw.random())

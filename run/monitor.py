"""One place that the training loop tells what happened."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envs.env import Env
from grpo.batching import Batch
from grpo.types import Group
from run.aha import find_aha, first_sample
from run.alerts import new_alerts
from run.cost import Meter, Price
from run.evaluation import Evaluation
from run.folder import RunFolder, read_rows
from run.memory import resident_gb
from run.metrics import (
    DiscardedRollouts,
    mismatch_metrics,
    policy_metrics,
    rollout_metrics,
    time_metrics,
    versions_behind,
)
from run.progress import Progress
from run.reflection import GroupBehaviors, read_groups, reflection_metrics
from run.terminal import Terminal
from run.trackers import Tracker

TRAINING_GROUPS_KEPT = 2
TRANSCRIPTS = 3


class Monitor:
    """Metrics, samples and events go to the run folder, to the tracker and to the terminal."""

    def __init__(
        self, env: Env, folder: RunFolder, tracker: Tracker, terminal: Terminal, progress: Progress, meter: Meter
    ) -> None:
        self.env = env
        self.folder, self.tracker, self.terminal = folder, tracker, terminal
        self.progress, self.meter = progress, meter
        self.evaluated: dict[str, float] = {}
        self.seconds = 0.0  # spent here since the last line was written
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> "Monitor":
        self.terminal.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.terminal.__exit__(*exc)
        if message := self.tracker.close(self.summary):
            self.terminal.say(message)

    def log_evaluation(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation of the weights that step `step` starts with; it joins that step's line."""
        started = time.monotonic()
        behaviors = read_groups(self.env, evaluation.sampled)
        self.evaluated = evaluation.metrics(behaviors)
        self._keep(step, "eval", evaluation.sampled, behaviors)
        self._keep(step, "eval_greedy", evaluation.greedy, read_groups(self.env, evaluation.greedy))
        self.terminal.show(step, self.evaluated)
        self.seconds += time.monotonic() - started

    def log(
        self,
        step: int,
        groups: Sequence[Group],
        batch: Batch,
        update: Mapping[str, float],
        spent: DiscardedRollouts,
        phases: Mapping[str, float],
        step_seconds: float,
        more: Mapping[str, Any],
    ) -> None:
        """A finished training step: what was trained on and spent, what the update said, seconds by phase."""
        started = time.monotonic()
        behaviors = read_groups(self.env, groups)
        metrics = rollout_metrics(groups, behaviors) | policy_metrics(update) | mismatch_metrics(batch)
        metrics |= spent.read(groups)
        metrics |= versions_behind(groups, step)
        metrics |= time_metrics({**phases, "monitor": self.seconds}, step_seconds, metrics["rollout/tokens"])
        metrics |= reflection_metrics(groups, behaviors, "reflection")
        metrics["memory/resident_gb"] = resident_gb()
        self._keep(step, "train", groups[:TRAINING_GROUPS_KEPT], behaviors[:TRAINING_GROUPS_KEPT])
        line = self._write(step, metrics | dict(more))
        first = groups[0]
        told = {name: value for name, value in line.items() if not name.startswith("eval")}
        self.terminal.show(step, told, str(first.problem.prompt) + first.rollouts[0].completion.text)
        self.seconds = time.monotonic() - started

    def log_end(self, step: int) -> None:
        """The last evaluation belongs to no training step and is a line of its own."""
        self._write(step, {})

    def finish(self, weights_sha256: str) -> None:
        """The run is whole: its summary.json."""
        self.summary = summarize(self.folder, self.meter.price, weights_sha256)
        self.folder.write_summary(self.summary)

    def _keep(self, step: int, kind: str, groups: Sequence[Group], behaviors: GroupBehaviors) -> None:
        if groups:
            self.tracker.log_samples(step, kind, self.folder.add_samples(step, kind, groups, behaviors))

    def _write(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        line = {"step": step, **metrics, **self.evaluated}
        self.progress.rows.append(line)
        line |= self.meter.metrics(self.progress.share, self.progress.tokens)
        self.evaluated = {}
        self.folder.add_metrics(line)
        self.tracker.log(step, line)
        self._watch(step)
        return line

    def _watch(self, step: int) -> None:
        """Alerts, and the aha moments that were not told before."""
        for alert in new_alerts(self.progress.rows):
            self._tell(step, {"kind": "alert", **asdict(alert)}, f"alert: {alert.message}; {alert.advice}")
        told = {event["name"] for event in self.folder.event_rows() if event["kind"] == "aha"}
        for moment in find_aha(self.progress.rows):
            if moment.measure not in told:
                sample = first_sample(read_rows(self.folder.samples), moment)
                event = {"kind": "aha", "name": moment.measure, "since": moment.step, "message": moment.sentence}
                self._tell(step, event | {"sample": sample}, f"aha: {moment.sentence}")

    def _tell(self, step: int, event: Mapping[str, Any], said: str) -> None:
        self.folder.add_event(step, event)
        self.tracker.log_event(step, event)
        self.terminal.say(said)


def transcripts(samples: Path, last_step: int) -> list[tuple[str, str, str]]:
    """(prompt, completion before, completion after) of held-out problems, those first that were
    failed at step 0 and are solved at `last_step`, in the order of the evaluation."""
    by_step: dict[int, dict[str, dict[str, Any]]] = {0: {}, last_step: {}}
    for row in read_rows(samples):
        if row["kind"] == "eval" and row["step"] in by_step:
            by_step[row["step"]][row["key"]] = row
    before, after = by_step[0], by_step[last_step]
    shared = [key for key in before if key in after]
    shared.sort(key=lambda key: before[key]["correct"] or not after[key]["correct"])
    return [(after[key]["prompt"], before[key]["completion"], after[key]["completion"]) for key in shared[:TRANSCRIPTS]]


def summarize(folder: RunFolder, price: Price, weights_sha256: str) -> dict[str, Any]:
    """The content of summary.json, from the metrics of all steps, earlier starts of the run included.
    `seconds` are those of training, `usd` is for all that was paid for, set-up and evaluation too."""
    rows = folder.metric_rows()
    evaluations = [row for row in rows if "eval/greedy" in row]
    steps = [row for row in rows if "time/step" in row]
    seconds = sum(row["time/step"] for row in steps)

    def figures(row: Mapping[str, Any]) -> dict[str, float]:
        return {"sampled": row["eval/sampled"], "greedy": row["eval/greedy"], "n": int(row["eval/n"])}

    first, last = evaluations[0], evaluations[-1]
    summary = {
        "accuracy": {"step0": figures(first), "final": figures(last)},
        "length": {"step0": first["eval/length"], "final": last["eval/length"]},
        "steps": len(steps),
        "seconds": round(seconds, 1),
        "tokens": int(sum(row["rollout/tokens"] for row in steps)),
        "usd": round(last["cost/usd"], 4),
        "usd_per_hour": price.usd_per_hour,
        "price": price.source,
        "weights_sha256": weights_sha256,
    }
    if "eval/tries" in first and "eval/tries" in last:  # only tasks with a trace language count tries
        summary["tries"] = {"step0": first["eval/tries"], "final": last["eval/tries"]}
    return json.loads(json.dumps(summary))

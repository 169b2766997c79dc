"""The observer of a run, to which the training loop reports."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from envs.env import Env
from grpo.grpo import Batch
from grpo.types import Group
from rewards.behavior_judge import BehaviorJudge
from run.aha import find_aha, first_sample
from run.alerts import new_alerts
from run.cost import Meter, Price, budget_exceeded, resident_gb, step_tokens
from run.evaluation import Evaluation
from run.folder import RunFolder, read_rows
from run.metrics import rollout_metrics, time_metrics, versions_behind
from run.reflection import GroupBehaviors, read_groups, reflection_metrics
from run.terminal import Terminal
from run.trackers import Tracker

TRAINING_GROUPS_KEPT = 2


class Monitor:
    """What the training loop reports to. Metrics, samples and events go to the run folder, to the tracker and to the
    terminal. A `judge`, if there is one, reviews the first `judged_completions` of each evaluation."""

    def __init__(
        self,
        env: Env,
        folder: RunFolder,
        tracker: Tracker,
        terminal: Terminal,
        meter: Meter,
        judge: BehaviorJudge | None = None,
        judged_completions: int = 0,
    ) -> None:
        self.env = env
        self.folder, self.tracker, self.terminal, self.meter = folder, tracker, terminal, meter
        self.judge, self.judged_completions = judge, judged_completions
        self.progress = terminal.progress
        self.evaluated: dict[str, float] = {}
        self.seconds = 0.0  # spent here since the last line was written
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> "Monitor":
        self.terminal.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.terminal.__exit__(*exc)
        if message := self.tracker.close(self.summary):
            self.say(message)

    @property
    def tokens(self) -> int:
        """Completion tokens of the run so far."""
        return self.progress.tokens

    def say(self, message: str) -> None:
        self.terminal.say(message)

    def resume(self, step: int) -> None:
        """Continue at `step`: drop the lines of this and later steps, which will be written again."""
        self.folder.rewind(step)
        rows = self.folder.metric_rows()
        self.terminal.rows, self.progress.rows = list(rows), list(rows)

    def budget_exceeded(self, budget_usd: float | None) -> bool:
        """Whether the next step would exceed the budget; if so, tell the user."""
        if not budget_exceeded(budget_usd, self.meter, self.progress.rows):
            return False
        self.say(
            f"stopping: the next step would exceed budget.usd={budget_usd} (${self.meter.usd:.2f} so far); the same "
            "command with a larger budget resumes the run"
        )
        return True

    def log_evaluation(self, step: int, evaluation: Evaluation) -> None:
        """Report an evaluation of the weights with which `step` starts; its metrics join that step's line."""
        started = time.monotonic()
        if self.judge is not None:
            reviewed = [group.rollouts[0].completion.text for group in evaluation.sampled[: self.judged_completions]]
            evaluation = replace(evaluation, judged=self.judge.review(reviewed))
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
        metrics: Mapping[str, Any],
        phases: Mapping[str, float],
        step_seconds: float,
    ) -> None:
        """Report a training step: the groups that it trained on, the metrics of its update (with `rollout/tokens`),
        and seconds by phase."""
        started = time.monotonic()
        behaviors = read_groups(self.env, groups)
        line = {**rollout_metrics(groups, behaviors), **metrics} | versions_behind(groups, step)
        line |= reflection_metrics(groups, behaviors, "reflection")
        self._keep(step, "train", groups[:TRAINING_GROUPS_KEPT], behaviors[:TRAINING_GROUPS_KEPT])
        sample = str(groups[0].problem.prompt) + groups[0].rollouts[0].completion.text
        self.log_update(step, line, phases, step_seconds, sample, time.monotonic() - started)

    def log_update(
        self,
        step: int,
        metrics: Mapping[str, Any],
        phases: Mapping[str, float],
        step_seconds: float,
        sample: str = "",
        seconds_here: float = 0.0,
    ) -> None:
        """Report a training step by its metrics alone, with the text to show beside them. `seconds_here` have been
        spent on this step's report already."""
        started = time.monotonic() - seconds_here
        phases = {**phases, "monitor": self.seconds}
        line = dict(metrics) | time_metrics(phases, step_seconds, step_tokens(metrics))
        line["memory/resident_gb"] = resident_gb()
        line = self._write(step, line)
        shown = {name: value for name, value in line.items() if not name.startswith("eval")}
        self.terminal.show(step, shown, sample)
        self.seconds = time.monotonic() - started

    def log_held_out_loss(self, step: int, loss: float) -> None:
        """Report the mean loss of held-out examples, in nats per token, with the evaluation of the same weights."""
        self.evaluated["eval/loss"] = loss
        self.terminal.show(step, {"eval/loss": loss})

    def save_failed_step(self, step: int, batch: Batch, groups: Sequence[Group]) -> Path:
        """Save all data of a step whose update failed, and return the folder."""
        return self.folder.save_step(step, batch, groups, read_groups(self.env, groups))

    def log_end(self, step: int) -> None:
        """Write the last evaluation, which belongs to no training step, as a line of its own."""
        self._write(step, {})

    def finish(self, weights_sha256: str) -> None:
        """Write summary.json, which marks the run as finished."""
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
        """Report new alerts and new aha moments."""
        for alert in new_alerts(self.progress.rows):
            self._tell(step, {"kind": "alert", **asdict(alert)}, f"alert: {alert.message}; {alert.advice}")
        told = {event["name"] for event in self.folder.event_rows() if event["kind"] == "aha"}
        for moment in find_aha(self.progress.rows):
            if moment.measure not in told:
                sample = first_sample(read_rows(self.folder.samples), moment)
                event = {"kind": "aha", "name": moment.measure, "since": moment.step, "message": moment.sentence}
                self._tell(step, event | {"sample": sample}, f"aha: {moment.sentence}")

    def _tell(self, step: int, event: Mapping[str, Any], message: str) -> None:
        self.folder.add_event(step, event)
        self.tracker.log_event(step, event)
        self.terminal.say(message)


def summarize(folder: RunFolder, price: Price, weights_sha256: str) -> dict[str, Any]:
    """The content of summary.json, from the metrics of all steps, including those of earlier starts. `seconds` counts
    training steps only; `usd` also covers startup and evaluation."""
    rows = folder.metric_rows()
    evaluations = [row for row in rows if "eval/greedy" in row]
    steps = [row for row in rows if "time/step" in row]
    seconds = sum(row["time/step"] for row in steps)

    def figures(row: Mapping[str, Any]) -> dict[str, float]:
        return {"sampled": row["eval/sampled"], "greedy": row["eval/greedy"], "n": int(row["eval/n"])}

    summary: dict[str, Any] = {}
    if evaluations:
        first, last = evaluations[0], evaluations[-1]
        summary["accuracy"] = {"step0": figures(first), "final": figures(last)}
        summary["length"] = {"step0": first["eval/length"], "final": last["eval/length"]}
        if "eval/tries" in first and "eval/tries" in last:  # only tasks with a trace language count tries
            summary["tries"] = {"step0": first["eval/tries"], "final": last["eval/tries"]}
    if losses := [row["eval/loss"] for row in rows if "eval/loss" in row]:
        summary["loss"] = {"step0": losses[0], "final": losses[-1]}
    summary |= {
        "steps": len(steps),
        "seconds": round(seconds, 1),
        "tokens": int(sum(map(step_tokens, steps))),
        "usd": round(rows[-1]["cost/usd"], 4),
        "usd_per_hour": price.usd_per_hour,
        "price": price.source,
        "weights_sha256": weights_sha256,
    }
    return json.loads(json.dumps(summary))

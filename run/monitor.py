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
from run.aha import AhaWatch, first_sample
from run.alerts import Alert, Alerts
from run.cost import Meter, Price, budget_exceeded, dollars, resident_gb, step_tokens
from run.evaluation import Evaluation
from run.files import read_rows
from run.folder import RunFolder
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
        self.progress, self.alerts, self.aha = terminal.progress, Alerts(), AhaWatch()
        self.told: set[tuple[str, int]] = set()  # (measure, first step) of the aha events that were reported
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
        for row in self.folder.read_metrics():
            self.terminal.add(row)
            self._observe(row)
        self.told = {(row["name"], row["since"]) for row in self.folder.event_rows() if row["kind"] == "aha"}

    def budget_exceeded(self, budget_usd: float | None) -> bool:
        """Whether the next step would exceed the budget; if so, tell the user."""
        if not budget_exceeded(budget_usd, self.meter, self.progress):
            return False
        self.say(
            f"stopping: the next step would exceed budget.usd={budget_usd} (${dollars(self.meter.usd)} so far); the "
            "same command with a larger budget resumes the run"
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

    def log_end(self, step: int, phases: Mapping[str, float]) -> None:
        """Write the last evaluation and checkpoint, which belong to no training step, as a line of their own."""
        self._write(step, {f"time/{name}": seconds for name, seconds in phases.items()})

    def finish(self, weights_sha256: str) -> None:
        """Write summary.json, which marks the run as finished."""
        self.summary = summarize(self.folder, self.meter.price, weights_sha256)
        self.folder.write_summary(self.summary)

    def _keep(self, step: int, kind: str, groups: Sequence[Group], behaviors: GroupBehaviors) -> None:
        if groups:
            self.tracker.log_samples(step, kind, self.folder.add_samples(step, kind, groups, behaviors))

    def _write(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        line = {"step": step, **metrics, **self.evaluated}
        alerts = self._observe(line)
        line |= self.meter.metrics(self.progress.share, self.progress.tokens)
        self.evaluated = {}
        self.folder.add_metrics(line)
        self.folder.write_spent(self.meter.seconds, self.meter.usd)
        self.tracker.log(step, line)
        self._tell_new(step, alerts)
        return line

    def _observe(self, row: Mapping[str, Any]) -> list[Alert]:
        """Take a line of metrics.jsonl into account; returns the alerts that start with it."""
        self.progress.add(row)
        self.aha.add(row)
        return self.alerts.add(row)

    def _tell_new(self, step: int, alerts: Sequence[Alert]) -> None:
        """Report new alerts and new aha events."""
        for alert in alerts:
            self._tell(step, {"kind": "alert", **asdict(alert)}, f"alert: {alert.message}; {alert.advice}")
        for moment in self.aha.moments():
            if (moment.measure, moment.step) not in self.told:
                self.told.add((moment.measure, moment.step))
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
    evaluations: list[Mapping[str, Any]] = []  # the first and the last
    losses: list[float] = []
    steps, seconds, tokens, usd = 0, 0.0, 0.0, 0.0
    for row in folder.read_metrics():
        if "eval/greedy" in row:
            evaluations = [*evaluations[:1], row]
        if "eval/loss" in row:
            losses = [*losses[:1], row["eval/loss"]]
        if "time/step" in row:
            steps, seconds, tokens = steps + 1, seconds + row["time/step"], tokens + step_tokens(row)
        usd = row.get("cost/usd", usd)

    def figures(row: Mapping[str, Any]) -> dict[str, float]:
        return {"sampled": row["eval/sampled"], "greedy": row["eval/greedy"], "n": int(row["eval/n"])}

    summary: dict[str, Any] = {}
    if evaluations:
        first, last = evaluations[0], evaluations[-1]
        summary["accuracy"] = {"step0": figures(first), "final": figures(last)}
        summary["length"] = {"step0": first["eval/length"], "final": last["eval/length"]}
        if "eval/tries" in first and "eval/tries" in last:  # only tasks with a trace language count tries
            summary["tries"] = {"step0": first["eval/tries"], "final": last["eval/tries"]}
    if losses:
        summary["loss"] = {"step0": losses[0], "final": losses[-1]}
    summary |= {
        "steps": steps,
        "seconds": round(seconds, 1),
        "tokens": int(tokens),
        "usd": round(usd, 4),
        "usd_per_hour": price.usd_per_hour,
        "price": price.source,
        "weights_sha256": weights_sha256,
    }
    return json.loads(json.dumps(summary))

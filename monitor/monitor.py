"""One place that the training loop tells what happened."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpo.types import Group
from monitor.evaluation import Evaluation
from monitor.run_folder import RunFolder, read_rows
from monitor.terminal import Terminal
from monitor.trackers import Tracker

TRAINING_GROUPS_KEPT = 2
TRANSCRIPTS = 3


class Monitor:
    """Metrics and samples go to the run folder, to the tracker and to the terminal."""

    def __init__(self, folder: RunFolder, tracker: Tracker, terminal: Terminal) -> None:
        self.folder, self.tracker, self.terminal = folder, tracker, terminal
        self.evaluated: dict[str, float] = {}

    def __enter__(self) -> "Monitor":
        self.terminal.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.terminal.__exit__(*exc)
        if message := self.tracker.close():
            self.terminal.say(message)

    def log_evaluation(self, step: int, evaluation: Evaluation) -> None:
        """An evaluation of the weights that step `step` starts with; it joins that step's line."""
        self.evaluated = evaluation.metrics()
        self.folder.add_samples(step, "eval", evaluation.sampled)
        self.folder.add_samples(step, "eval_greedy", evaluation.greedy)
        self.terminal.show(step, self.evaluated)

    def log(self, step: int, groups: Sequence[Group], metrics: Mapping[str, Any]) -> None:
        """A finished training step."""
        self._write(step, metrics)
        self.folder.add_samples(step, "train", groups[:TRAINING_GROUPS_KEPT])
        first = groups[0]
        self.terminal.show(step, metrics, str(first.problem.prompt) + first.rollouts[0].completion.text)

    def log_end(self, step: int) -> None:
        """The last evaluation belongs to no training step and is a line of its own."""
        self._write(step, {})

    def _write(self, step: int, metrics: Mapping[str, Any]) -> None:
        line = {**metrics, **self.evaluated}
        self.evaluated = {}
        self.folder.add_metrics(step, line)
        self.tracker.log(step, line)


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


def summarize(folder: RunFolder, usd_per_hour: float, weights_sha256: str) -> dict[str, Any]:
    """The content of summary.json, from the metrics of all steps, earlier starts of the run included."""
    rows = folder.metric_rows()
    evaluations = [row for row in rows if "eval/greedy" in row]
    steps = [row for row in rows if "time/step" in row]
    seconds = sum(row["time/step"] for row in steps)

    def figures(row: Mapping[str, Any]) -> dict[str, float]:
        return {"sampled": row["eval/sampled"], "greedy": row["eval/greedy"], "n": int(row["eval/n"])}

    first, last = evaluations[0], evaluations[-1]
    summary = {
        "accuracy": {"step0": figures(first), "final": figures(last)},
        "tries": {"step0": first["eval/tries"], "final": last["eval/tries"]},
        "length": {"step0": first["eval/length"], "final": last["eval/length"]},
        "steps": len(steps),
        "seconds": round(seconds, 1),
        "tokens": int(sum(row["rollout/tokens"] for row in steps)),
        "usd": round(seconds / 3600 * usd_per_hour, 4),
        "weights_sha256": weights_sha256,
    }
    return json.loads(json.dumps(summary))

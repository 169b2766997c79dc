"""The folder of a run: its files, and the check that a run is resumed with the settings it was started with."""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from grpo.types import Group
from run.reflection import GroupBehaviors

if TYPE_CHECKING:
    from grpo.grpo import Batch

# These settings may change when a run is resumed: they affect where and how long it runs, not what it computes.
FREE_KEYS = (
    "num_steps",
    "num_tokens",
    "sweep",
    "topology",
    "tracker",
    "checkpoint",
    "evaluation",
    "rollout",
    "cost",
    "budget",
    "git",
)


class RunFolder:
    """outputs/<run>/ with config.yaml, metrics.jsonl, samples.jsonl, events.jsonl, checkpoints/, summary.json."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"

    @classmethod
    def of(cls, run: str) -> "RunFolder":
        """The folder of the run with this name.

        Raises:
            ValueError: the name is empty, as with an unset variable of the shell, or leads out of outputs/.
        """
        inside = Path(os.path.normpath(Path("outputs", run)))
        if not run.strip() or inside == Path("outputs") or not inside.is_relative_to("outputs"):
            raise ValueError(f"run={run}: must be the name of a folder in outputs/; choose run=NAME")
        return cls(Path("outputs", run))

    def claim(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml, after checking that a run already in this folder was started with the same settings.

        Raises:
            ValueError: a setting outside FREE_KEYS differs from that of the run in the folder.
        """
        if self.config.is_file():
            before = flatten(yaml.safe_load(self.config.read_text(encoding="utf-8")))
            now = flatten(config)
            for key in sorted(before.keys() | now.keys()):
                if key.split(".")[0] not in FREE_KEYS and before.get(key) != now.get(key):
                    raise ValueError(
                        f"run={config['run']} was started with {key}={before.get(key)}, but now {key}={now.get(key)}; "
                        "choose another run=NAME, or restore the setting to resume this run"
                    )
        self.path.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")

    def is_finished(self, num_steps: int, num_tokens: int | None) -> bool:
        """Whether summary.json exists and covers at least `num_steps` steps or `num_tokens` tokens."""
        if not self.summary.is_file():
            return False
        summary = json.loads(self.summary.read_text(encoding="utf-8"))
        return summary["steps"] >= num_steps or (num_tokens is not None and summary["tokens"] >= num_tokens)

    def rewind(self, step: int) -> None:
        """Drop the lines of `step` and later steps, which the resumed run will write again."""
        for path in (self.metrics, self.samples, self.events):
            if path.is_file():
                kept = [row for row in read_rows(path) if row["step"] < step]
                temporary = path.with_suffix(".rewinding")
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
                temporary.rename(path)

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Append the metrics of one step, including the key `step`."""
        _append(self.metrics, [line])

    def add_samples(
        self, step: int, kind: str, groups: Sequence[Group], behaviors: GroupBehaviors
    ) -> list[dict[str, Any]]:
        """Append one row per completion to samples.jsonl and return the rows."""
        rows = _sample_rows(step, kind, groups, behaviors)
        _append(self.samples, rows)
        return rows

    def add_event(self, step: int, event: Mapping[str, Any]) -> None:
        """Append an alert or an aha event to events.jsonl."""
        _append(self.events, [{"step": step, **event}])

    def event_rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.events)) if self.events.is_file() else []

    def save_step(self, step: int, batch: "Batch", groups: Sequence[Group], behaviors: GroupBehaviors) -> Path:
        """Save all data of a failed step for debugging, the batch as safetensors and the completions as JSONL.

        Returns the folder that was written."""
        from safetensors.torch import save_file  # deferred: it imports torch, which takes 4 s; reports do without

        folder = self.path / f"failed_step_{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in vars(batch).items() if tensor is not None}
        save_file(tensors, folder / "batch.safetensors")
        _append(folder / "completions.jsonl", _sample_rows(step, "train", groups, behaviors))
        return folder

    def metric_rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.metrics)) if self.metrics.is_file() else []

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        self.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file, skipping a last line that was cut short by a crash."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def git_commit(folder: Path) -> dict[str, Any] | None:
    """{"commit": hash, "dirty": whether tracked files were changed} of the checkout that contains `folder`;
    None if there is no checkout or no git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _sample_rows(step: int, kind: str, groups: Sequence[Group], behaviors: GroupBehaviors) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "kind": kind,
            "env": group.problem.env,
            "key": group.problem.key,
            "fields": dict(group.problem.fields),
            "answer": group.problem.answer,
            "prompt": str(group.problem.prompt),
            "completion": rollout.completion.text,
            "reward": rollout.score.reward,
            "correct": rollout.score.correct,
            "components": dict(rollout.score.components),
            "reason": rollout.score.reason,
            "tokens": len(rollout.completion.token_ids),
            "truncated": rollout.completion.truncated,
            "behaviors": read.shown,
            "tries": read.tries,
        }
        for group, group_behaviors in zip(groups, behaviors, strict=True)
        for rollout, read in zip(group.rollouts, group_behaviors, strict=True)
    ]


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)

"""The folder of a run: its files, and the check that a run is resumed with the settings it was started with."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf

from conf.compose import chosen_groups
from envs.env import Env
from envs.mixed import stored_problems
from grpo.types import Group, sha256_of_problems
from run.cost import Meter, is_complete
from run.files import append_rows, read_json, read_rows, read_yaml, replace_json, replace_rows, replace_text
from run.lock import lock
from run.reflection import GroupBehaviors

if TYPE_CHECKING:
    from grpo.grpo import Batch

# These settings may change when a run is resumed: they affect where and how long it runs, not what it computes. The
# exception is num_steps with a learning rate that decays over the run, of which `write_config` warns.
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
    "groups",
)
# These too: a run may have lacked the memory that they save.
MEMORY_KEYS = (
    "algorithm.micro_batch_tokens",
    "micro_batch_tokens",
    "model.gradient_checkpointing",
    "reward.workers",
)


def may_change(key: str) -> bool:
    """Whether a setting may change when a run is resumed. The number of held-out problems may not, since the accuracies
    before and after training would be of different problems, nor may `topology.max_off_policy_steps`, since the run
    would go on with completions of other weights."""
    affects_result = key in ("evaluation.num_problems", "topology.max_off_policy_steps")
    is_free = key.partition(".")[0] in FREE_KEYS and not affects_result
    return is_free or key in MEMORY_KEYS


def trains_off_policy(override: str) -> bool:
    """Whether an override of `topology` changes what a run computes: it would train on completions of older weights."""
    return override == "topology=async" or override.startswith("topology.max_off_policy_steps=")


class RunFolder:
    """outputs/<run>/ with config.yaml, metrics.jsonl, samples.jsonl, events.jsonl, checkpoints/, spent.json and
    summary.json."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.events = path / "events.jsonl"
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.spent = path / "spent.json"

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

    def claim(self, config: Mapping[str, Any], elsewhere: str = "run=NAME") -> None:
        """Lock the folder until this process ends, and check that a run already in this folder was started with the
        same settings. `elsewhere` is the override by which the user chooses another one.

        Raises:
            ValueError: a setting that may not change differs from that of the run in the folder, or a file is damaged.
            FolderInUse: another process writes this folder.
        """
        self.lock = lock(self.path, f"choose another {elsewhere}")
        if self.config.is_file():
            do = f"remove it to resume the run with the settings of this command, or choose another {elsewhere}"
            before = flatten(read_yaml(self.config, do))
            now = flatten(config)
            for key in sorted(before.keys() | now.keys()):
                is_unknown = key == "problems.sha256" and key not in before  # older runs did not record it
                if may_change(key) or is_unknown or before.get(key) == now.get(key):
                    continue
                restored = "data" if key.endswith(".sha256") else "setting"
                raise ValueError(
                    f"run={config['run']} was started with {key}={before.get(key)}, but now {key}={now.get(key)}; "
                    f"choose another {elsewhere}, or restore the {restored} to resume this run"
                )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml. That of a finished run stays, with the commit that trained its weights. Warn if a run that
        has checkpoints goes on with another number of steps while its learning rate decays over them."""
        now = flatten(config)
        schedule = now.get("algorithm.optimizer.schedule", now.get("optimizer.schedule"))
        if schedule in ("linear", "cosine") and self.config.is_file() and any(self.checkpoints.glob("step_*")):
            before = read_yaml(self.config, "remove it, and run the same command again").get("num_steps")
            if before != now["num_steps"]:
                print(
                    f"warning: num_steps={now['num_steps']} was {before} when the run was last started, and the "
                    f"learning rate decays over it (optimizer.schedule={schedule}), so the weights will not equal "
                    "those of an uninterrupted run; to get those, choose another run=NAME",
                    file=sys.stderr,
                )
        replace_text(self.config, [yaml.safe_dump(dict(config), sort_keys=False)])

    def is_finished(self, num_steps: int, num_tokens: int | None) -> bool:
        """Whether summary.json exists and covers at least `num_steps` steps or `num_tokens` tokens.

        Raises:
            DamagedFile: summary.json is damaged.
        """
        if not self.summary.is_file():
            return False
        do = "remove it, and run the same command again to write it"
        summary = read_json(self.summary, do, ("steps", "tokens", "seconds"))
        return is_complete(summary["steps"], summary["tokens"], num_steps, num_tokens)

    def rewind(self, step: int) -> None:
        """Drop the lines of `step` and later steps, which the resumed run will write again."""
        for path in (self.metrics, self.samples, self.events):
            if path.is_file():
                replace_rows(path, (row for row in read_rows(path, ["step"]) if row["step"] < step))

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Append the metrics of one step, including the key `step`."""
        append_rows(self.metrics, [line])

    def add_samples(
        self, step: int, kind: str, groups: Sequence[Group], behaviors: GroupBehaviors
    ) -> list[dict[str, Any]]:
        """Append one row per completion to samples.jsonl and return the rows."""
        rows = _sample_rows(step, kind, groups, behaviors)
        append_rows(self.samples, rows)
        return rows

    def add_event(self, step: int, event: Mapping[str, Any]) -> None:
        """Append an alert or an aha event to events.jsonl."""
        append_rows(self.events, [{"step": step, **event}])

    def event_rows(self) -> list[dict[str, Any]]:
        return list(read_rows(self.events, ["kind", "name"])) if self.events.is_file() else []

    def save_step(self, step: int, batch: "Batch", groups: Sequence[Group], behaviors: GroupBehaviors) -> Path:
        """Save all data of a failed step for debugging, the batch as safetensors and the completions as JSONL.

        Returns the folder that was written."""
        from safetensors.torch import save_file  # deferred: it imports torch, which takes 4 s; reports do without

        folder = self.path / f"failed_step_{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in vars(batch).items() if tensor is not None}
        save_file(tensors, folder / "batch.safetensors")
        replace_rows(folder / "completions.jsonl", _sample_rows(step, "train", groups, behaviors))
        return folder

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl, one at a time: those of a long run take gigabytes."""
        return read_rows(self.metrics, ["step"]) if self.metrics.is_file() else iter(())

    def metric_rows(self) -> list[dict[str, Any]]:
        return list(self.read_metrics())

    def read_spent(self) -> tuple[float, float]:
        """Seconds and dollars of all starts of the run, those of steps that `rewind` has dropped included."""
        do = "remove it, which forgets the cost of steps that were repeated"
        recorded = read_json(self.spent, do, ["seconds"]) if self.spent.is_file() else {"seconds": 0.0}
        seconds, usd = recorded["seconds"], recorded.get("usd", 0.0)
        for row in self.read_metrics():
            seconds, usd = max(seconds, row.get("cost/seconds", 0.0)), max(usd, row.get("cost/usd", 0.0))
        return seconds, usd

    @contextmanager
    def metering(self) -> Iterator[Meter]:
        """Measure the cost of a start of the run, and record it at its end, however it ends."""
        meter = Meter(*self.read_spent())
        try:
            yield meter
        finally:
            self.write_spent(meter.seconds, meter.usd)

    def write_spent(self, seconds: float, usd: float) -> None:
        replace_json(self.spent, {"seconds": seconds, "usd": usd})

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        replace_json(self.summary, summary)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def recorded(raw: DictConfig, env: Env) -> dict[str, Any]:
    """What config.yaml records: the settings, the files of conf/ and the commit that they come from, and the identity
    of the problems that the task reads from files."""
    settings: Any = OmegaConf.to_container(raw, resolve=True)
    settings |= {"groups": chosen_groups(), "git": git_commit(Path(__file__).parent)}
    return settings | {"problems": {"sha256": sha256_of_problems(stored_problems(env))}}


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

"""Show that a change of the code does not change what it computes.

    python -m tools.same_runs --output outputs/before               # at the commit before the change
    python -m tools.same_runs --output outputs/after --against outputs/before

Short runs of the tiny model cover the trainer's paths: both tasks, adapters, resampling, several ranks and replicas,
simulated GPUs, asynchronous generation, a resume, several updates per step, and every algorithm. Two recordings are
equal if the checksum of the final weights and all metrics but times are, to the last bit. Recordings are comparable on
one kind of CPU only. A run takes about a minute on two cores.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conf.launch import checking_settings

TRAINER = Path(__file__).resolve().parents[1] / "train_grpo.py"
COMMON = ["tracker=none", "evaluation.num_problems=64", "evaluation.interim_problems=32"]
COMMON += ["evaluation.every=4", "checkpoint.every=4"]
# One update a step, unless a run says otherwise; and a second start may plan more steps than the first.
COMMON += ["algorithm.num_minibatches=1", "algorithm.optimizer.schedule=constant"]
# Each run by its starts: a second start resumes the first.
RUNS: dict[str, list[list[str]]] = {
    "countdown": [["num_steps=8"]],
    "multiplication": [["env=multiplication", "num_steps=8"]],
    "countdown-lora": [["num_steps=8", "model.lora.rank=8"]],
    "multiplication-lora": [["env=multiplication", "num_steps=8", "model.lora.rank=8"]],
    "dapo": [["algorithm=dapo", "num_steps=8"]],
    "ranks": [["num_steps=8", "topology.actor_ranks=2", "rollout.replicas=2"]],
    "split": [["topology=split", "topology.device=cpu", "topology.num_gpus=4", "num_steps=8"]],
    "async": [["topology=async", "topology.device=cpu", "topology.num_gpus=2", "num_steps=8"]],
    "resume": [["num_steps=4"], ["num_steps=8"]],
    "minibatches": [["num_steps=4", "algorithm.num_minibatches=4", "algorithm.num_epochs=2"]],
    "reinforce_pp": [["algorithm=reinforce_pp", "num_steps=4"]],
    "kl_reward": [
        [
            "num_steps=4",
            "algorithm.kl.apply_to=reward",
            "algorithm.kl.estimator=k1",
            "algorithm.kl.ref_sync_steps=2",
        ]
    ],
    "candidates": [["num_steps=3", "algorithm.sampling.candidates=2", "algorithm=gspo"]],
    "transformers": [["num_steps=3", "rollout.backend=transformers", "algorithm.correction.level=token"]],
    **{f"alg-{name}": [["num_steps=2", f"algorithm={name}"]] for name in ("dr_grpo", "rloo", "cispo", "sapo", "gmpo")},
}
# Metrics that measure time or memory, or that derive from them.
VARYING = ("time/", "cost/", "memory/", "rollout/tokens_per_second")


def record(output: Path, names: Sequence[str]) -> None:
    """Train the named runs in `output`/outputs/.

    Raises:
        ValueError: one of them exists already. It would be resumed or, if it is finished, not run with this code.
    """
    for name in names:
        if (output / "outputs" / name).exists():
            raise ValueError(
                f"--output={output} has a run {name} already; choose another folder, remove this one, or compare the "
                "recording with --compare-only"
            )
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        for overrides in RUNS[name]:
            command = [sys.executable, str(TRAINER), f"run={name}", f"model.path={model_of(name)}", *COMMON, *overrides]
            with (output / f"{name}.log").open("a", encoding="utf-8") as log:
                subprocess.run(command, cwd=output, stdout=log, stderr=log, check=True)
        print(f"{name}: {summary_of(output, name)['weights_sha256'][:12]}", flush=True)


def model_of(name: str) -> Path:
    """The tiny base of the run's task, by its absolute path, since runs start in another folder."""
    envs = TRAINER.parent / "envs"
    if name.startswith("multiplication"):
        return envs / "multiplication" / "models" / "tiny-multiplication"
    return envs / "countdown" / "models" / "tiny"


def differences(ours: Path, theirs: Path, name: str) -> Iterator[str]:
    """What differs between two recordings of a run."""
    first, second = (summary_of(output, name)["weights_sha256"] for output in (ours, theirs))
    if first != second:
        yield f"weights {first[:12]} instead of {second[:12]}"
    lines, expected = (metrics_of(output, name) for output in (ours, theirs))
    if len(lines) != len(expected):
        yield f"{len(lines)} lines of metrics instead of {len(expected)}"
    for line, other in zip(lines, expected, strict=False):
        for key in sorted(line.keys() | other.keys()):
            if line.get(key) != other.get(key):
                yield f"step {line['step']}: {key} {line.get(key)} instead of {other.get(key)}"


def summary_of(output: Path, name: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "outputs" / name / "summary.json").read_text(encoding="utf-8"))
    return summary


def metrics_of(output: Path, name: str) -> list[dict[str, Any]]:
    lines = (output / "outputs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(VARYING)} for line in lines]


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.same_runs", description=__doc__, formatter_class=raw)
    parser.add_argument("--output", type=Path, required=True, help="the folder of this recording")
    parser.add_argument("--against", type=Path, help="an earlier recording, to compare with")
    parser.add_argument("--compare-only", action="store_true", help="the recording exists already")
    parser.add_argument("names", nargs="*", help="runs; all if none is given")
    args = parser.parse_args()
    names = args.names or list(RUNS)
    if not args.compare_only:
        with checking_settings():
            record(args.output, names)
    if args.against is None:
        return 0
    found = {name: list(differences(args.output, args.against, name)) for name in names}
    for name, changes in found.items():
        print(f"{name}: {'equal' if not changes else f'{len(changes)} differences; {changes[0]}'}")
    return int(any(found.values()))


if __name__ == "__main__":
    raise SystemExit(main())

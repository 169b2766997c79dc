"""Measure training steps on a CPU against TRL's GRPOTrainer and against a floor.

    python -m tools.benchmarks.speed w1 w1-kl --rounds 3 --steps 2

AhaZero is the whole of train_grpo.py; TRL runs in .venv-bench (`make bench-setup`). Both get the same prompts, model,
lengths, threads, micro-batches and optimizer settings, in float32, and they take turns. Ray starts its workers at nice
15, so TRL runs at nice 15 too. If all completions must reach their limit, the tokenizer of both is given an end token
that the model cannot generate. The first step of each run is a warm-up and is dropped. The results are written after
each round to tools/benchmarks/results/speed-<workload>.json; tools.benchmarks.tables prints them.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from conf.compose import compose_config
from conf.launch import checking_settings
from conf.schema import Config
from grpo.types import Problem
from tools.benchmarks.measurement import (
    RAY_NICE,
    REPOSITORY,
    RESULTS,
    gemm_rate,
    in_fresh_process,
    record,
    versions,
    write_result,
)
from tools.benchmarks.process_tree import Observed, observe
from tools.planner.shape import shape_of
from workers.models import load_config, load_tokenizer
from workers.session import PASSIVE_THREADS
from workers.tokenization import encode, render

PHASES = ("generate", "logprobs", "update", "weight_sync")
NEVER = "<|never|>"


@dataclass(frozen=True)
class SpeedWorkload:
    """num_prompts problems with group_size completions each, of exactly or, if `natural`, at most
    max_completion_tokens tokens."""

    name: str
    model: str
    num_prompts: int
    group_size: int
    max_completion_tokens: int
    kl_coef: float = 0.0
    natural: bool = False


W1 = SpeedWorkload("w1", "smollm2-135m", 4, 8, 64)
W1B = SpeedWorkload("w1b", "smollm2-135m", 8, 8, 128)
TINY = SpeedWorkload("tiny", "tiny", 16, 8, 64)
WORKLOADS = {
    workload.name: workload
    for workload in (
        *(workload for one in (TINY, W1, W1B) for workload in (one, replace(one, name=f"{one.name}-kl", kl_coef=1e-3))),
        SpeedWorkload("w1v", "smollm2-135m", 4, 8, 256, natural=True),
        SpeedWorkload("tinyv", "tiny", 32, 8, 192, natural=True),
    )
}


class SpeedComparison:
    """A workload's inputs, in a folder of its own, and the runs of both sides."""

    def __init__(self, workload: SpeedWorkload, num_steps: int, threads: int, peer: Path, folder: Path) -> None:
        self.workload, self.num_steps, self.threads, self.peer, self.folder = workload, num_steps, threads, peer, folder
        source = compose_config(self.overrides(None)).model.source
        self.model = Path(source) if workload.natural else without_end(Path(source), folder / "model")
        self.cfg: Config = compose_config(self.overrides(self.model))
        self.shape = shape_of(load_config(source))
        self.tokenizer = load_tokenizer(str(self.model))
        self.lengths = [len(encode(self.tokenizer, problem.prompt)) for problem in self.problems()]
        self.environment = os.environ | PASSIVE_THREADS | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}

    def overrides(self, model: Path | None) -> list[str]:
        work = self.workload
        return [
            *(f"model={work.model}", "env=countdown", "tracker=none", "topology=cpu"),
            *([f"model.path={model}", f"model.local_path={model}"] if model else []),
            *(f"topology.threads={self.threads}", f"rollout.threads={self.threads}"),
            *(f"num_steps={self.num_steps}", f"model.max_completion_tokens={work.max_completion_tokens}"),
            *(f"algorithm.num_prompts={work.num_prompts}", f"algorithm.group_size={work.group_size}"),
            *(f"algorithm.kl.coef={work.kl_coef}", "algorithm.optimizer.lr=1e-6"),
            *("algorithm.num_minibatches=1", "algorithm.optimizer.schedule=constant"),  # unlike tiny's recipe
            *("evaluation.num_problems=1", "evaluation.interim_problems=1", "evaluation.every=0"),
            "checkpoint.every=1000000",
        ]

    def problems(self) -> list[Problem]:
        count = self.num_steps * self.workload.num_prompts
        return [self.cfg.env.problem(self.cfg.seed, "train", index) for index in range(count)]

    def ours(self, run: str) -> dict[str, Any]:
        """One run of train_grpo.py."""
        tokens = self.workload.group_size * (max(self.lengths) + self.workload.max_completion_tokens)
        command = [sys.executable, str(REPOSITORY / "train_grpo.py"), *self.overrides(self.model)]
        command += [f"run={run}", f"algorithm.micro_batch_tokens={tokens}"]
        steps = self.folder / "outputs" / run / "metrics.jsonl"
        return self._measured(observe(command, steps, self.folder, self.environment, self.folder / f"{run}.log"))

    def trl(self, run: str) -> dict[str, Any]:
        """One run of TRL's GRPOTrainer."""
        settings, steps = self.folder / f"{run}.json", self.folder / f"{run}.jsonl"
        optimizer = self.cfg.algorithm.optimizer
        given = {
            "num_steps": self.num_steps,
            "micro_batch": self.workload.group_size,
            "threads": self.threads,
            "lr": optimizer.lr,
            "beta2": optimizer.beta2,
            "model": str(self.model),
            "steps": str(steps),
            "output": str(self.folder / run),
            "prompts": [render(self.tokenizer, problem.prompt) for problem in self.problems()],
        }
        settings.write_text(json.dumps(asdict(self.workload) | given), encoding="utf-8")
        program = [str(self.peer / "bin" / "python"), "-P", str(Path(__file__).with_name("trl_grpo.py")), str(settings)]
        command = ["nice", "-n", str(RAY_NICE), *program]
        seen = observe(command, steps, self.folder, self.environment, self.folder / f"{run}.log")
        expected = self.workload.group_size * sum(self.lengths[: self.workload.num_prompts])
        if seen.rows[0]["prompt_tokens"] != expected:
            raise RuntimeError(f"TRL's prompts have {seen.rows[0]['prompt_tokens']} tokens instead of {expected}")
        return self._measured(seen)

    def _measured(self, seen: Observed) -> dict[str, Any]:
        work = self.workload
        steps = measured_steps(seen)
        expected = work.num_prompts * work.group_size * work.max_completion_tokens
        if not work.natural and any(step["tokens"] != expected for step in steps):
            raise RuntimeError(f"{[step['tokens'] for step in steps]} tokens were generated instead of {expected}")
        return {"steps": steps, "peak_bytes": seen.peak_bytes}


def measured_steps(seen: Observed) -> list[dict[str, float]]:
    """Seconds, CPU seconds, completion tokens and phases of each step but the first. The row of the last evaluation
    has no step."""
    return [
        {
            "seconds": row["time/step"],
            "cpu_seconds": after - before,
            "tokens": row["rollout/tokens"],
            **{phase: row.get(f"time/{phase}", 0.0) for phase in PHASES},
        }
        for row, before, after in zip(seen.rows[1:], seen.cpu_seconds, seen.cpu_seconds[1:], strict=False)
        if "time/step" in row
    ]


def without_end(source: Path, folder: Path) -> Path:
    """A copy of a model folder whose end token lies outside of the model's vocabulary, so that every completion
    reaches its limit. Raises ValueError if the model has outputs without a token."""
    tokenizer, config = load_tokenizer(str(source)), load_config(str(source))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"eos_token": NEVER})
    if tokenizer.eos_token_id < config.vocab_size:
        raise ValueError(f"{source}: token {tokenizer.eos_token_id} can be generated; choose a model without spare ids")
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((source / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(settings | {"eos_token_id": None}), encoding="utf-8")
    (folder / "model.safetensors").symlink_to((source / "model.safetensors").resolve())
    return folder


def compare(workload: SpeedWorkload, rounds: int, steps: int, threads: int, peer: Path, results: Path) -> None:
    """Run both sides alternately and write the results after each round."""
    with TemporaryDirectory() as folder:
        comparison = SpeedComparison(workload, 1 + steps, threads, peer, Path(folder))
        result = record(
            "speed",
            workload.name,
            versions={"ahazero": versions(Path(sys.prefix)), "trl": versions(peer)},
            workload=asdict(workload) | {"prompt_tokens": mean(comparison.lengths), "threads": threads},
            shape=asdict(comparison.shape),
            rounds=[],
        )
        sides = {"ahazero": comparison.ours, "trl": comparison.trl}
        for number in range(rounds):
            found = {}
            for name in sorted(sides, reverse=number % 2 == 1):  # the first one changes from round to round
                rate = in_fresh_process(threads, gemm_rate)
                found[name] = sides[name](f"{name}-{number}") | {"gemm_rate": rate}
                print(line(workload.name, name, found[name]), flush=True)
            result["rounds"].append(found)
            write_result(results, result)


def line(workload: str, name: str, run: Mapping[str, Any]) -> str:
    steps: Sequence[Mapping[str, float]] = run["steps"]
    phases = ", ".join(f"{phase} {median(step[phase] for step in steps):.2f}" for phase in PHASES)
    seconds, cpu = (median(step[key] for step in steps) for key in ("seconds", "cpu_seconds"))
    gemm = f"{run['gemm_rate'] / 1e9:.0f} GFLOP/s"
    return f"{workload} {name}: {seconds:.2f} s ({phases}), {cpu:.1f} CPU s, {run['peak_bytes'] / 1e9:.1f} GB, {gemm}"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.speed", description=__doc__, formatter_class=raw)
    parser.add_argument("workloads", nargs="+", choices=WORKLOADS, help="what to measure")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="measured steps per run (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of every process (default: %(default)s)")
    parser.add_argument("--peer", type=Path, default=REPOSITORY / ".venv-bench", help="the environment of TRL")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    args = parser.parse_args()
    with checking_settings():
        if not (args.peer / "bin" / "python").is_file():
            raise ValueError(f"--peer={args.peer} is not a virtual environment; run make bench-setup")
        for name in args.workloads:
            compare(WORKLOADS[name], args.rounds, args.steps, args.threads, args.peer.absolute(), args.results)


if __name__ == "__main__":
    main()

"""Measure how the seconds of a training step grow on a CPU: `python -m tools.benchmarks.growth`

The actor's update, on a random model of 4 layers and hidden size 256, by the number of completions, by their length, by
both at a fixed number of tokens, and by the size of the vocabulary. Then generation and the transfer of weights in runs
of the tiny model, by the number of rollout replicas. The results are written to
tools/benchmarks/results/growth-cpu.json; tools.benchmarks.tables prints them.
"""

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from grpo.grpo import Batch, make_batch
from grpo.types import Completion, Group, Problem, Rollout, Score
from tools.benchmarks.measurement import (
    REPOSITORY,
    RESULTS,
    gemm_rate,
    in_fresh_process,
    record,
    spread,
    timed,
    versions,
    write_result,
)
from tools.benchmarks.process_tree import observe
from tools.benchmarks.speed import measured_steps
from workers.actor import Actor
from workers.session import PASSIVE_THREADS

GROUP_SIZE = 8
PROMPT_TOKENS = 16
MICRO_BATCH_TOKENS = 2048
FIXED_TOKENS = 4096


@dataclass(frozen=True)
class GrowthPoint:
    """An update on `completions` completions of `length` tokens."""

    completions: int = 16
    length: int = 64
    vocabulary: int = 8192


COUNTS = (8, 16, 32, 64)
LENGTHS = (64, 128, 256, 512)
UPDATES = {
    "completions": [GrowthPoint(completions=count) for count in COUNTS],
    "length": [GrowthPoint(completions=8, length=length) for length in LENGTHS],
    "shape": [GrowthPoint(FIXED_TOKENS // length, length) for length in LENGTHS],
    "vocabulary": [GrowthPoint(vocabulary=size) for size in (1_000, 8_000, 32_000, 150_000)],
}
REPLICAS = (1, 2, 3, 4)


def updates(point: GrowthPoint, repeats: int) -> list[float]:
    """Seconds of `repeats` updates, after a warm-up."""
    with TemporaryDirectory() as folder:
        random_model(point.vocabulary).save_pretrained(folder)
        model = ModelConfig("random", folder, max_prompt_tokens=PROMPT_TOKENS, max_completion_tokens=point.length)
        algorithm = AlgorithmConfig(micro_batch_tokens=MICRO_BATCH_TOKENS)
        actor, batch = Actor(model, algorithm, TopologyConfig(), num_steps=1 + repeats), batch_of(point)
    ref_logprobs = batch.behavior_logprobs
    return [timed(lambda: actor.update(batch, ref_logprobs))[1] for _ in range(1 + repeats)][1:]


def random_model(vocabulary: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def batch_of(point: GrowthPoint) -> Batch:
    """Groups of random completions; half of each group is rewarded."""
    generator = torch.Generator().manual_seed(0)

    def random_ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 1000, (count,), generator=generator).tolist())

    def rollout(prompt_ids: tuple[int, ...], reward: float) -> Rollout:
        ids = random_ids(point.length)
        completion = Completion(prompt_ids, ids, "", (-7.0,) * len(ids), "length", 0)
        return Rollout(completion, Score(reward, reward == 1.0, {}, ""))

    problem, groups = Problem("random", "", "", "", {}), []
    for _ in range(point.completions // GROUP_SIZE):
        prompt_ids = random_ids(PROMPT_TOKENS)
        groups.append(Group(problem, tuple(rollout(prompt_ids, float(index % 2)) for index in range(GROUP_SIZE))))
    return make_batch(groups, torch.tensor([1.0, -1.0]).repeat(point.completions // 2))


def replicas(count: int, steps: int) -> list[dict[str, float]]:
    """The measured steps of a run of the tiny model with `count` rollout replicas of one thread each."""
    with TemporaryDirectory() as name:
        folder, tiny = Path(name), REPOSITORY / "envs" / "countdown" / "models" / "tiny"
        command = [sys.executable, str(REPOSITORY / "train_grpo.py"), "run=growth", f"model.path={tiny}"]
        command += ["tracker=none", "topology=cpu", f"rollout.replicas={count}", f"num_steps={1 + steps}"]
        command += ["evaluation.num_problems=1", "evaluation.every=0", "checkpoint.every=1000000"]
        rows = folder / "outputs" / "growth" / "metrics.jsonl"
        return measured_steps(observe(command, rows, folder, os.environ | PASSIVE_THREADS, folder / "log"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each point (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of the update (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=[*UPDATES, "replicas"], default=[*UPDATES, "replicas"])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    args = parser.parse_args()
    rate = in_fresh_process(args.threads, gemm_rate)
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in args.only:
        tables[name] = []
        for value in REPLICAS if name == "replicas" else UPDATES[name]:
            if isinstance(value, GrowthPoint):
                seconds = in_fresh_process(args.threads, updates, value, args.repeats)
                tables[name].append(asdict(value) | {"seconds": seconds})
            else:
                steps = replicas(value, args.repeats)
                seconds = [step["seconds"] for step in steps]
                tables[name].append({"replicas": value, "steps": steps})
            print(f"{name} {value}: {spread(seconds)} s", flush=True)
    fields = {"versions": versions(Path(sys.prefix)), "threads": args.threads, "gemm_rate": rate, "tables": tables}
    print(f"wrote {write_result(args.results, record('growth', 'cpu', **fields))}")


if __name__ == "__main__":
    main()

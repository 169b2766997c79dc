"""Compare the planner's memory of an update with a real one: `python -m tools.benchmarks.memory`

Each line is a fresh process that runs workers.actor.Actor.update on a CPU. The measurement is the peak of the
resident memory that the kernel records (VmHWM), minus the resident memory before the model was loaded. It includes what
PyTorch's kernels and allocator need, which the prediction does not know. An update of another, small model comes first,
to load code and start thread pools. glibc is set to return blocks above 64 KB at once, since freed activations would
otherwise count.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from grpo.grpo import Batch
from tools.planner.shape import SHIPPED
from tools.planner.trace import UpdateMemory, trace_update
from workers.actor import Actor
from workers.models import load_config
from workers.session import PASSIVE_THREADS

GLIBC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
TINY = "envs/countdown/models/tiny"
LINE = "{:<13} {:<9} {:>7} {:>5} {:>10} {:>9} {:>6} {:>8} {:>9} {:>6}"


@dataclasses.dataclass(frozen=True)
class MemoryCase:
    """An update over two micro-batches of `rows` completions of equal length. model: a folder, or a shipped
    config, in which case the weights are random."""

    model: str
    rows: int
    prompt: int
    completion: int
    dtype: str = "float32"
    gradient_checkpointing: bool = False

    @property
    def name(self) -> str:
        return Path(self.model).name

    @property
    def algorithm(self) -> AlgorithmConfig:
        return AlgorithmConfig(micro_batch_tokens=self.rows * (self.prompt + self.completion))

    def settings(self, folder: str) -> ModelConfig:
        return ModelConfig(
            self.name,
            folder,
            dtype=self.dtype,
            max_prompt_tokens=self.prompt,
            max_completion_tokens=self.completion,
            gradient_checkpointing=self.gradient_checkpointing,
        )

    def batch(self) -> Batch:
        rows, generator = 2 * self.rows, torch.Generator().manual_seed(0)
        mask = torch.ones(rows, self.completion, dtype=torch.bool)
        logprobs = torch.full(mask.shape, -1.0)
        advantages = torch.randn(rows, 1, generator=generator).expand(mask.shape)
        return Batch(
            input_ids=torch.randint(1, 200, (rows, self.prompt + self.completion), generator=generator),
            prompt_lengths=torch.full((rows,), self.prompt),
            mask=mask,
            loss_mask=mask,
            behavior_logprobs=logprobs,
            rewards=torch.zeros(rows, dtype=torch.float64),
            group_ids=torch.zeros(rows, dtype=torch.long),
            advantages=advantages,
            old_logprobs=logprobs,
            ref_logprobs=logprobs,
        )


# Activations dominate the peak of every case. With fewer tokens the gradient of the embeddings would, three times over
# if they are tied (of the output, of the input, and their sum), and the number of tokens would make no difference.
TINY_CASES = [
    *(MemoryCase(TINY, rows, 16, 192, gradient_checkpointing=on) for rows in (20, 80) for on in (False, True)),
    MemoryCase(TINY, 20, 16, 192, "bfloat16"),
]
SMOLLM2 = "models/smollm2-135m"
SMOLLM2_CASES = [
    MemoryCase(SMOLLM2, 2, 64, 192),
    MemoryCase(SMOLLM2, 8, 64, 192),
    MemoryCase(SMOLLM2, 8, 64, 192, gradient_checkpointing=True),
    *(MemoryCase(SMOLLM2, 2, 64, 192, "bfloat16", on) for on in (False, True)),  # minutes each on a CPU
]
QWEN = str(SHIPPED / "Qwen" / "Qwen2.5-0.5B")
QWEN_CASES = [MemoryCase(QWEN, 3, 64, 192), MemoryCase(QWEN, 6, 64, 192, gradient_checkpointing=True)]
# The gradients of the embeddings dominate; in all others, activations do.
EMBEDDINGS_DOMINATE = MemoryCase(QWEN, 4, 64, 64, gradient_checkpointing=True)
CASES = {"tiny": TINY_CASES, "smollm2": SMOLLM2_CASES, "qwen": [*QWEN_CASES, EMBEDDINGS_DOMINATE]}


def predict(case: MemoryCase) -> UpdateMemory:
    """The planner's prediction for a CPU, without a CUDA context."""
    config = load_config(case.model)
    return trace_update(config, case.settings(case.model), case.algorithm, case.batch(), foreach=False)


def measure(case: MemoryCase) -> float:
    """Peak bytes of two updates, measured in a process of their own."""
    command = [sys.executable, "-m", "tools.benchmarks.memory", "--measure", json.dumps(dataclasses.asdict(case))]
    done = subprocess.run(command, env=os.environ | GLIBC | PASSIVE_THREADS, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def updating(case: MemoryCase) -> float:
    """In a fresh process: peak bytes of two updates, above those before the model was loaded."""
    update_twice(MemoryCase(TINY, 2, 16, 32, case.dtype, case.gradient_checkpointing), TINY)
    with TemporaryDirectory() as folder:
        source = folder if case.model.startswith(str(SHIPPED)) else case.model
        if source == folder:
            save_random(case, folder)
        settle()
        before = resident("VmRSS")
        update_twice(case, source)
    return resident("VmHWM") - before


def update_twice(case: MemoryCase, source: str) -> None:
    """Run two updates; at the second one the optimizer already has its state."""
    actor = Actor(case.settings(source), case.algorithm, TopologyConfig(), num_steps=2)
    settle()  # loading the model has a peak of its own, which a GPU does not have
    for _ in range(2):
        actor.update(case.batch())


def save_random(case: MemoryCase, folder: str) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(load_config(case.model), dtype=torch.float32).save_pretrained(folder)


def settle() -> None:
    """Return free memory to the kernel and reset its record of the peak."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def resident(key: str) -> int:
    """The value of a line of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CASES, default=["tiny"], help="qwen needs 12 GB of memory")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(updating(MemoryCase(**json.loads(args.measure))))
        return
    print("peak memory of an update, in MB above the process without a model; the columns on the right are without")
    print("weights, gradients and optimizer state")
    print(
        LINE.format("model", "dtype", "tokens", "ckpt", "predicted", "measured", "ratio", "passes", "measured", "ratio")
    )
    for case in [case for name in args.models for case in CASES[name]]:
        predicted, measured = predict(case), measure(case)
        settings = (case.name, case.dtype, f"{case.algorithm.micro_batch_tokens:,}", _yes(case.gradient_checkpointing))
        kept = predicted.kept + predicted.gradients
        figures = (*_compared(predicted.peak, measured), *_compared(predicted.peak - kept, measured - kept))
        print(LINE.format(*settings, *figures), flush=True)


def _compared(predicted: float, measured: float) -> tuple[str, str, str]:
    return f"{predicted / 1e6:,.0f}", f"{measured / 1e6:,.0f}", f"{predicted / measured:.2f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    main()

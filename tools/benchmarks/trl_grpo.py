"""TRL's GRPOTrainer on the workload of tools.benchmarks.speed, which starts this file in .venv-bench.

    .venv-bench/bin/python -P tools/benchmarks/trl_grpo.py SETTINGS.json

It imports nothing of this repository. Each optimizer step appends a row to the file `steps`, with the names of a run's
metrics.jsonl.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class TimedTrainer(GRPOTrainer):
    """Adds up the seconds of generation and of log-probabilities without gradient, and counts tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        super().__init__(*args, **kwargs)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        self.sums["time/generate"] += time.monotonic() - started
        self.sums["rollout/tokens"] += sum(map(len, completion_ids))
        self.sums["prompt_tokens"] += sum(map(len, prompt_ids))
        return completion_ids, logprobs

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        started = time.monotonic()
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if not torch.is_grad_enabled():
            self.sums["time/logprobs"] += time.monotonic() - started
        return result


class StepWriter(TrainerCallback):
    """Writes the seconds of each step, from its generation to its optimizer update."""

    def __init__(self, path: Path) -> None:
        self.path, self.started = path, 0.0
        self.trainer: Any = None  # set once there is one

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.monotonic()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        seconds, sums = time.monotonic() - self.started, self.trainer.sums
        update = seconds - sums["time/generate"] - sums["time/logprobs"]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time/step": seconds, "time/update": update} | sums) + "\n")
        sums.clear()


def reward(completions: list[str], **kwargs: Any) -> list[float]:
    """Rewards that differ within a group and cost nothing."""
    return [float(len(completion) % 2) for completion in completions]


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(settings["threads"])
    completions = settings["num_prompts"] * settings["group_size"]
    config = GRPOConfig(
        output_dir=settings["output"],
        max_steps=settings["num_steps"],
        per_device_train_batch_size=settings["micro_batch"],
        gradient_accumulation_steps=completions // settings["micro_batch"],
        num_generations=settings["group_size"],
        max_completion_length=settings["max_completion_tokens"],
        temperature=1.0,
        beta=settings["kl_coef"],
        learning_rate=settings["lr"],
        lr_scheduler_type="constant",
        adam_beta2=settings["beta2"],
        weight_decay=0.0,
        max_grad_norm=1.0,
        model_init_kwargs={"dtype": "float32"},
        bf16=False,
        gradient_checkpointing=False,  # TRL's default recomputes activations, which costs time
        shuffle_dataset=False,
        use_cpu=True,
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    writer = StepWriter(Path(settings["steps"]))
    trainer = TimedTrainer(
        model=settings["model"],
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": settings["prompts"]}),
        processing_class=AutoTokenizer.from_pretrained(settings["model"], padding_side="left"),
        callbacks=[writer],
    )
    writer.trainer = trainer
    trainer.train()


if __name__ == "__main__":
    main()

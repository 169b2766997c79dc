"""Supervised fine-tuning: the model learns to continue prompts as the examples do.

A run has the same actor, topologies, checkpoints and reports as a run of train_grpo.py, but a step draws examples
instead of generating completions. The loss is the mean negative log-likelihood of the completion tokens of all examples
of a step. Examples share a row without padding and do not see each other (grpo/packing.py).

    make sft DATA=outputs/my-traces/data.jsonl
    python train_sft.py model=smollm2-135m env=gsm8k data.paths=[rows.jsonl] run=my-sft epochs=2
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import hydra
from omegaconf import DictConfig
from rich.console import Console

from conf.launch import checking_settings, launch, settings_of
from conf.sft import SftConfig
from envs.score import Scorer
from grpo.types import Problem
from report import refresh_report
from run.folder import RunFolder, recorded
from run.metrics import policy_metrics
from run.monitor import Monitor
from run.terminal import print_end
from run.trackers import check_tracker
from train_grpo import Training, train
from workers.actor import UpdateResult
from workers.examples import Examples, check_held_out, describe, load_examples
from workers.models import (
    check_model,
    check_optimizer,
    context_length,
    fitting_problems,
    load_tokenizer,
    read_config,
)
from workers.session import check_topology, free_shared_memory
from workers.step_plan import StepPlan, example_batch
from workers.trainable import check_trainable
from workers.trio import Trio

REPORTED = ("entropy", "grad_norm", "lr", "skipped", "skipped_in_row", "gpu_gb")  # the others are of RL


class SftTraining(Training):
    """The loop of train_grpo.py with steps on examples."""

    def __init__(
        self,
        examples: Examples,
        plan: StepPlan,
        cfg: SftConfig,
        folder: RunFolder,
        trio: Trio,
        scorer: Scorer,
        monitor: Monitor,
    ) -> None:
        super().__init__(cfg, folder, trio, scorer, monitor)
        self.plan, self.held_out = plan, StepPlan(examples.held_out, cfg.batch_tokens, seed=0)
        self.ranks = len(trio.actor.workers)

    def train_step(self) -> None:
        started, step = time.monotonic(), self.step
        self.trio.actor.interrupt.check()  # in RL, generation does
        self.trio.rollout.sleep()
        examples = self.plan.step(step)
        batch = example_batch(examples, self.ranks)
        update: UpdateResult = self.trio.actor.call("update", batch, phase="update")
        self.step = step + 1
        metrics = policy_metrics({name: value for name, value in update.metrics.items() if name in REPORTED})
        metrics |= {
            "data/loss": update.metrics["loss"],
            "data/tokens": float(batch.loss_mask.sum()),
            "data/examples": float(len(examples)),
            "data/epoch": self.plan.epoch_of(step),
        }
        self.monitor.log_update(step, metrics, self.trio.timer.read(), time.monotonic() - started)
        if update.skipped_in_a_row >= self.algorithm.optimizer.max_skipped:
            raise self.diverged(step, update.skipped_in_a_row, batch, [])

    def evaluate(self, problems: Sequence[Problem], greedy: bool) -> None:
        """Accuracy on held-out problems, if the task has any, and the loss of held-out examples."""
        if problems:
            self.trio.rollout.sleep()
            super().sync_weights()
            super().evaluate(problems, greedy)
        if self.held_out.examples:
            self.trio.rollout.sleep()
            self.monitor.log_held_out_loss(self.step, self.held_out_loss())

    def sync_weights(self) -> None:
        """Only `evaluate` samples from the model, so a start sends no weights."""

    def held_out_loss(self) -> float:
        """The mean negative log-likelihood of the held-out examples, in nats per token that carries loss, whatever the
        examples' weights."""
        total = tokens = 0.0
        for step in range(self.held_out.num_steps(1)):
            batch = example_batch(self.held_out.step(step), self.ranks)
            logprobs = self.trio.actor.call("logprobs", batch, phase="evaluate")
            total -= float((logprobs * batch.loss_mask).sum())
            tokens += float(batch.loss_mask.sum())
        return total / tokens


def longest_example(cfg: SftConfig) -> int:
    """The most tokens of an example, prompt included.

    Raises:
        ValueError: data.max_tokens is more than the model's context.
    """
    if cfg.data.max_tokens is None:
        return cfg.model.max_prompt_tokens + cfg.model.max_completion_tokens
    context = context_length(read_config(cfg.model))
    if context is not None and cfg.data.max_tokens > context:
        raise ValueError(
            f"data.max_tokens={cfg.data.max_tokens} must be at most {context}, the context of model.path="
            f"{cfg.model.source}; longer examples are then left out"
        )
    return cfg.data.max_tokens


@hydra.main(version_base=None, config_path="conf", config_name="sft")
def main(raw: DictConfig) -> None:
    console = Console()
    with checking_settings():
        cfg = settings_of(raw, SftConfig)
        check_model(cfg.model, cfg.rollout, cfg.topology)
        max_tokens = longest_example(cfg)
        check_trainable(cfg.model, max_tokens)
        check_optimizer(cfg.optimizer)
        check_tracker(cfg.tracker)
        check_topology(cfg)
        examples = load_examples(cfg.data, load_tokenizer(cfg.model.source), max_tokens, cfg.seed)
        held_out = fitting_problems(cfg.env, cfg.model).held_out(cfg.evaluation.num_problems)
        check_held_out(examples, {problem.key for problem in held_out})
        plan = StepPlan(examples.training, cfg.batch_tokens, cfg.seed)
        cfg = replace(cfg, num_steps=cfg.num_steps or plan.num_steps(cfg.epochs))
        resolved = recorded(raw, cfg.env) | {"num_steps": cfg.num_steps}
        resolved["data"]["sha256"] = examples.sha256
        folder = RunFolder.of(cfg.run)
        folder.claim(resolved)
        is_finished = folder.is_finished(cfg.num_steps, cfg.num_tokens)
    if is_finished:
        free_shared_memory(folder.path)  # it may have been killed after its end
        refresh_report(folder.path)
        print_end(console, folder)
        print("this run is finished; choose another run=NAME, or raise num_steps (and num_tokens, if set) to continue")
        return
    print_start(console, cfg, examples, max_tokens, folder)
    train(partial(SftTraining, examples, plan), cfg, folder, resolved)


def print_start(console: Console, cfg: SftConfig, examples: Examples, max_tokens: int, folder: RunFolder) -> None:
    tokens = sum(example.num_tokens for example in examples.training)
    lines = [
        f"{cfg.model.name} ({cfg.model.source}), supervised fine-tuning on {', '.join(cfg.data.paths)}",
        f"{len(examples.training):,} examples with {tokens:,} tokens to train on, {len(examples.held_out)} held out",
        f"in total: {cfg.num_steps} steps of at most {cfg.batch_tokens:,} tokens; outputs: {folder.path}",
    ]
    if examples.too_long:
        lines.append(
            f"left out: {len(examples.too_long):,} examples of more than {max_tokens} tokens, which is set by "
            f"data.max_tokens: {describe(examples.too_long)}"
        )
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    launch(main, SftConfig)

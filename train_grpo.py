"""R1-Zero: a base model learns to reason from rewards alone, by GRPO (arXiv 2402.03300).

Unlike in the paper, the loss is averaged over all completion tokens of a step, as in DAPO, not within each completion
first (`algorithm.loss.aggregation=sequence`), and rewards come from rules instead of a reward model. A step makes one
optimizer update unless the recipe asks for more; with one update, the policy ratio is 1 and clipping has no effect.
docs/algorithms.md has the rest of the family, and docs/architecture.md follows one problem through one step.

    make train                                     # the tiny model on countdown
    python train_grpo.py model=smollm2-135m seed=1 run=my-run
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import hydra
from omegaconf import DictConfig
from rich.console import Console

from conf.launch import checking_settings, explaining_errors, launch, settings_of
from conf.schema import Config
from conf.sft import TrainingConfig
from envs.score import Scorer
from grpo.advantages import ADVANTAGES
from grpo.grpo import Batch, make_batch
from grpo.selection import has_advantages, replace_uniform_groups, select_by_pass_rate
from grpo.types import Completion, Group, Problem, Request, SamplingParams, request_seed
from report import refresh_report, write_report
from run.cost import Progress, is_complete
from run.evaluation import evaluate
from run.files import DamagedFile
from run.folder import RunFolder, recorded
from run.metrics import DiscardedRollouts, group_metrics, mismatch_metrics, policy_metrics
from run.monitor import Monitor
from run.terminal import Terminal, print_end, print_start
from run.trackers import check_tracker, make_tracker
from workers.actor import UpdateResult
from workers.checkpoint import newest_intact, step_of, write_checkpoint
from workers.interrupt import Interrupt, Interrupted
from workers.judge import make_behavior_judge, make_judge
from workers.models import check_model, check_optimizer, fitting_problems
from workers.preparation import prepare_machine
from workers.rank_group import WorkerDied, WorkerFailed, WorkerTimeout
from workers.session import check_topology, free_shared_memory
from workers.trainable import check_trainable
from workers.trio import Trio, start_trio
from workers.weights import Weights

Completions = Iterator[tuple[int, Completion]]  # (request index, completion), as each one finishes


class Diverged(RuntimeError):  # noqa: N818 - reads as a state
    """The gradient was not finite too many times in a row."""


class Training:
    """The GRPO loop over the trio."""

    def __init__(self, cfg: TrainingConfig, folder: RunFolder, trio: Trio, scorer: Scorer, monitor: Monitor) -> None:
        self.cfg, self.folder, self.trio, self.scorer, self.monitor = cfg, folder, trio, scorer, monitor
        self.algorithm, self.discarded = cfg.algorithm, DiscardedRollouts()
        self.problems = fitting_problems(cfg.env, cfg.model)
        self.eval_set = self.problems.held_out(cfg.evaluation.num_problems)
        self.step, self.saved_step = 0, 0  # the last step that is in a checkpoint; a start without one is at step 0

    def run(self) -> str:
        """Train until `num_steps`, `num_tokens` or the budget is reached, and return the SHA-256 of the weights.

        Raises:
            Interrupted: the user stopped the run; its finished steps are in a checkpoint.
        """
        self.resume()
        try:
            while not self.is_done() and not self.monitor.budget_exceeded(self.cfg.budget.usd):
                self.maybe_evaluate()
                self.train_step()
                self.maybe_checkpoint()
            self.checkpoint()
            self.evaluate(self.eval_set, greedy=True)
        except Interrupted:
            self.checkpoint()
            raise
        self.monitor.log_end(self.step, self.trio.timer.read())
        return str(self.trio.actor.call("weights_sha256", phase="checkpoint"))

    def train_step(self) -> None:
        started, step, trio, algorithm = time.monotonic(), self.step, self.trio, self.algorithm
        problems = self.training_problems(step)
        completions = self.completions(step, problems)
        groups = self.scorer.score(problems, completions, algorithm.group_size)
        groups = self.resample_uniform_groups(step, groups)
        advantages = ADVANTAGES[algorithm.advantage.of](groups, algorithm.advantage, self.cfg.reward.weights)
        batch = make_batch(groups, advantages, algorithm.loss.mask_truncated)
        trio.rollout.sleep()
        ref_logprobs = trio.reference and trio.reference.call("ref_logprobs", batch, phase="logprobs")
        update: UpdateResult = trio.actor.call("update", batch, ref_logprobs, phase="update")
        published: Weights = trio.actor.call("publish_weights", step + 1, phase="weight_sync")
        weights = trio.rollout.load_weights(published)
        trio.sync_reference(weights)
        self.step = step + 1
        self.log(step, groups, batch, update, weights, time.monotonic() - started)
        if update.skipped_in_a_row >= algorithm.optimizer.max_skipped:
            raise self.diverged(step, update.skipped_in_a_row, batch, groups)

    def completions(self, step: int, problems: Sequence[Problem]) -> Completions:
        return self.generate(problems, self.algorithm.group_size, "train", step)

    def generate(self, problems: Sequence[Problem], size: int, *name: object) -> Completions:
        """Begin `size` completions of each problem, with seeds that depend on the run's seed and on `name`."""
        requests = [
            Request(problem.prompt, request_seed(self.cfg.seed, *name, index, sample))
            for index, problem in enumerate(problems)
            for sample in range(size)
        ]
        cfg = self.algorithm.sampling
        sampling = SamplingParams(cfg.temperature, self.cfg.model.max_completion_tokens, cfg.top_p, cfg.top_k)
        return self.trio.rollout.generate(requests, sampling)

    def training_problems(self, step: int, resample_round: int = 0, count: int | None = None) -> list[Problem]:
        """The problems of a step, or the `count` problems that a round of resampling draws for it. If the algorithm
        asks for several candidates per problem, those are tried, and the problems with medium pass rates are kept."""
        sampling, count = self.algorithm.sampling, count or self.algorithm.num_prompts
        seed = request_seed(self.cfg.seed, "resample", resample_round) if resample_round else self.cfg.seed
        first = step * self.algorithm.num_prompts * sampling.candidates
        indexes = range(first, first + count * sampling.candidates)
        candidates = [self.problems.training(seed, index) for index in indexes]
        if sampling.candidates == 1:
            return candidates
        completions = self.generate(candidates, sampling.trial_completions, "trial", step, resample_round)
        trials = self.scorer.score(candidates, completions, sampling.trial_completions)
        self.discarded.add("tried", trials)
        return [trial.problem for trial in select_by_pass_rate(trials, count)]

    def resample_uniform_groups(self, step: int, groups: list[Group]) -> list[Group]:
        """Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose advantages are all 0 have no gradient;
        replace them by groups of other problems, in up to `max_resample_rounds` rounds."""
        is_useful = partial(has_advantages, cfg=self.algorithm.advantage, component_weights=self.cfg.reward.weights)
        for resample_round in range(1, self.algorithm.sampling.max_resample_rounds):
            uniform = sum(not is_useful(group) for group in groups)
            if uniform == 0:
                break
            problems = self.training_problems(step, resample_round, uniform)
            completions = self.generate(problems, self.algorithm.group_size, "train", step, resample_round)
            fresh = self.scorer.score(problems, completions, self.algorithm.group_size)
            groups, dropped = replace_uniform_groups(groups, fresh, is_useful)
            self.discarded.add("dropped", dropped)
        return groups

    def is_done(self) -> bool:
        return is_complete(self.step, self.monitor.tokens, self.cfg.num_steps, self.cfg.num_tokens)

    def maybe_evaluate(self) -> None:
        if self.step == 0:
            self.evaluate(self.eval_set, greedy=True)
        elif self.cfg.evaluation.every and self.step % self.cfg.evaluation.every == 0:
            self.evaluate(self.eval_set[: self.cfg.evaluation.interim_problems], greedy=False)

    def evaluate(self, problems: Sequence[Problem], greedy: bool) -> None:
        def generate(problems: Sequence[Problem], temperature: float) -> Completions:
            requests = [Request(p.prompt, request_seed(self.cfg.seed, "evaluation", p.key)) for p in problems]
            sampling = SamplingParams(temperature, self.cfg.model.max_completion_tokens)
            return self.trio.rollout.generate(requests, sampling, phase="evaluate")

        self.monitor.log_evaluation(self.step, evaluate(generate, self.scorer, problems, greedy))

    def maybe_checkpoint(self) -> None:
        if self.step % self.cfg.checkpoint.every == 0 or self.is_done():
            self.checkpoint()

    def checkpoint(self) -> None:
        if self.saved_step != self.step:
            write_checkpoint(self.folder.checkpoints, self.step, self.trio.save, self.cfg.checkpoint.keep)
            self.saved_step = self.step

    def resume(self) -> None:
        """Load the newest intact checkpoint, if there is one, and give the sampler the actor's weights."""
        self.trio.rollout.sleep()  # the actor may need the memory to load and to send
        path = newest_intact(self.folder.checkpoints, self.monitor.say)
        if path is not None:
            self.step = self.saved_step = step_of(path)
            self.trio.load(path)
            self.monitor.say(f"resuming from {path}")
        self.monitor.resume(self.step)
        self.sync_weights()
        self.trio.timer.read()

    def sync_weights(self) -> None:
        """Give the sampler the actor's weights, outside of a training step."""
        self.trio.rollout.load_weights(self.trio.actor.call("publish_weights", self.step, phase="weight_sync"))

    def log(
        self, step: int, groups: list[Group], batch: Batch, update: UpdateResult, weights: Weights, seconds: float
    ) -> None:
        metrics = policy_metrics(update.metrics) | mismatch_metrics(batch, update.old_logprobs)
        metrics |= group_metrics(batch) | self.discarded.read(groups)
        metrics |= {"rollout/too_long_prompts": float(self.problems.read_replaced())}
        phases = self.trio.timer.read() | {"score": self.scorer.seconds_after}
        version = {"weights/version": weights.version, "weights/checksum": weights.checksum}
        self.monitor.log(step, groups, metrics | version, phases, seconds)

    def diverged(self, step: int, skipped: int, batch: Batch, groups: list[Group]) -> Diverged:
        saved = self.monitor.save_failed_step(step, batch, groups)
        return Diverged(
            f"the gradient was not finite {skipped} times in a row, up to step {step}; the weights did not change, and "
            f"the data of the step is in {saved}; try a lower learning rate (optimizer.lr)"
        )


class AsyncTraining(Training):
    """Generation and training at the same time: the completions of a step begin before the previous step trains, so
    their weights are one version old. The first step after a start uses the newest weights."""

    started: Completions | None = None

    def completions(self, step: int, problems: Sequence[Problem]) -> Completions:
        current = self.started or super().completions(step, problems)
        has_next = step + 1 < self.cfg.num_steps
        self.started = super().completions(step + 1, self.training_problems(step + 1)) if has_next else None
        return current


Kind = Callable[[Any, RunFolder, Trio, Scorer, Monitor], Training]


@explaining_errors()
def train(kind: Kind, cfg: TrainingConfig, folder: RunFolder, resolved: Mapping[str, Any]) -> None:
    """A whole run, from an empty or unfinished run folder to summary.json and report.html. If an actor process dies,
    the run resumes from its last checkpoint."""
    console, interrupt = Console(), Interrupt()
    with checking_settings():
        prepare_machine(cfg)
        folder.write_config(resolved)
    for restarts_left in reversed(range(cfg.topology.max_restarts + 1)):
        terminal = Terminal(Progress(cfg.num_steps, cfg.num_tokens), console)
        try:
            with start_training(kind, cfg, folder, resolved, interrupt, terminal) as training:
                weights_sha256 = training.run()
                training.monitor.finish(weights_sha256)
            break
        except WorkerDied as error:
            if not restarts_left:
                raise SystemExit(f"error: {error} (topology.max_restarts={cfg.topology.max_restarts})") from error
            terminal.say(f"{error}; resuming from the last checkpoint")
        except Interrupted:
            report = write_report([folder.path], ended=True)
            terminal.say(f"stopped; the same command resumes from the last checkpoint; report so far: {report}")
            return
        except (DamagedFile, Diverged, WorkerFailed, WorkerTimeout, TimeoutError) as error:
            raise SystemExit(f"error: {error}") from error
    print_end(console, folder)
    terminal.say(f"report: {write_report([folder.path])}")


@contextmanager
def start_training(
    kind: Kind,
    cfg: TrainingConfig,
    folder: RunFolder,
    resolved: Mapping[str, Any],
    interrupt: Interrupt,
    terminal: Terminal,
) -> Iterator[Training]:
    """The trio and everything that observes it, until the run ends or a process dies."""
    with folder.metering() as meter, start_trio(cfg, interrupt, meter) as trio:
        with checking_settings():
            judge = make_judge(cfg, trio.device)
            behavior_judge = make_behavior_judge(cfg, trio.device)
        tracker = make_tracker(cfg.tracker, folder.path, resolved, terminal.say)
        judged_completions = cfg.evaluation.judged_completions
        with (
            Scorer(cfg.env, cfg.reward, judge) as scorer,
            Monitor(cfg.env, folder, tracker, terminal, meter, behavior_judge, judged_completions) as monitor,
        ):
            yield kind(cfg, folder, trio, scorer, monitor)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(raw: DictConfig) -> None:
    with checking_settings():
        cfg = settings_of(raw, Config)
        folder = RunFolder.of(cfg.run)
        check_model(cfg.model, cfg.rollout, cfg.topology)
        check_trainable(cfg.model, cfg.model.max_prompt_tokens + cfg.model.max_completion_tokens)
        check_optimizer(cfg.algorithm.optimizer)
        check_tracker(cfg.tracker)
        check_topology(cfg)
        problems = fitting_problems(cfg.env, cfg.model)
        problems.held_out(cfg.evaluation.num_problems)
        note = problems.check(cfg.seed, cfg.num_steps * cfg.algorithm.num_prompts * cfg.algorithm.sampling.candidates)
        resolved = recorded(raw, cfg.env)
        folder.claim(resolved)
        is_finished = folder.is_finished(cfg.num_steps, cfg.num_tokens)
    if is_finished:
        free_shared_memory(folder.path)  # it may have been killed after its end
        refresh_report(folder.path)
        print_end(Console(), folder)
        print("this run is finished; choose another run=NAME, or raise num_steps (and num_tokens, if set) to continue")
        return
    print_start(Console(), cfg, folder)
    print(note, end="\n" if note else "")
    train(AsyncTraining if cfg.topology.max_off_policy_steps else Training, cfg, folder, resolved)


if __name__ == "__main__":
    launch(main, Config)

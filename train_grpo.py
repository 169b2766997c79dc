"""R1-Zero: a base model learns to reason from rewards alone, by GRPO (arXiv 2402.03300).

Where this differs from the paper: the loss is averaged over all completion tokens of a step
(`algorithm.loss.aggregation=token`, as DAPO does), where the paper averages within each completion
first (`=sequence`); one optimizer update is made a step, so the ratio starts at 1 and clipping
rarely acts; rewards come from rules alone, there is no reward model. docs/algorithms.md has the
rest of the family.

    make train                                     # the tiny model on countdown
    python train_grpo.py model=smollm2-135m seed=1 run=my-run
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from conf.launch import checking_settings, launch
from conf.schema import Config
from envs.score import Scorer
from grpo.advantages import with_advantages
from grpo.batching import make_batch
from grpo.selection import has_reward_variance, replaced, select_by_pass_rate
from grpo.types import Completion, Group, Problem, Request, SamplingParams, request_seed
from report import write_report
from rewards.behavior_judge import BehaviorJudge
from run.cost import Meter, budget_exceeded, price_of, seconds_before
from run.ending import print_end, print_start
from run.evaluation import Evaluation, evaluate
from run.folder import RunFolder
from run.metrics import DiscardedRollouts
from run.monitor import Monitor
from run.progress import Progress
from run.reflection import read_groups
from run.terminal import Terminal
from run.trackers import check_tracker, git_commit, make_tracker
from workers.checkpoint import newest_whole, step_of, write_checkpoint
from workers.interrupt import Interrupt, Interrupted
from workers.judge import make_behavior_judge, make_judge
from workers.models import check_model, check_optimizer
from workers.session import check_topology
from workers.trio import Trio, start_trio
from workers.waiting import WorkerDied, WorkerTimeout

Completions = Iterator[tuple[int, Completion]]


class Diverged(RuntimeError):  # noqa: N818 - a state, said by its name
    """The gradient was not finite too many times in a row."""

    def __init__(self, step: int, times: int, saved: Path) -> None:
        super().__init__(
            f"the gradient was not finite {times} times in a row, up to step {step}; the weights are as they were "
            f"before; the step's data lie in {saved}; try a lower algorithm.optimizer.lr"
        )


class Training:
    """A run: its settings, the trio, and how many steps it has done."""

    def __init__(
        self,
        cfg: Config,
        folder: RunFolder,
        trio: Trio,
        scorer: Scorer,
        monitor: Monitor,
        judge: BehaviorJudge | None = None,
    ) -> None:
        self.judge = judge
        self.cfg, self.folder, self.trio, self.monitor = cfg, folder, trio, monitor
        self.env, self.algorithm, self.scorer = cfg.env, cfg.algorithm, scorer
        self.spent = DiscardedRollouts()
        self.held_out = self.env.eval_set(cfg.evaluation.num_problems)
        self.step = self.resume()

    def run(self) -> None:
        """Train to `num_steps` or `num_tokens`, or as long as the budget lasts. Stopped by the user, it
        leaves a checkpoint and raises Interrupted."""
        try:
            while not self.is_done():
                self.maybe_evaluate()
                if self.budget_is_spent():
                    break
                self.train_step()
                self.maybe_checkpoint()
            self.evaluate(self.held_out, greedy=True)
            self.monitor.log_end(self.step)
        except Interrupted:
            self.checkpoint()
            raise

    def train_step(self) -> None:
        started, step, actor = time.monotonic(), self.step, self.trio.actor
        problems = self.training_problems(step)
        completions = self.completions(step, problems)
        groups = self.scorer.score(problems, completions, self.algorithm.group_size)
        groups = self.replace_equal(step, groups)
        batch = make_batch(groups, self.algorithm.loss.mask_truncated)
        batch = self.trio.with_logprobs(batch)
        batch = with_advantages(batch, groups, self.algorithm.advantage, self.algorithm.kl, self.cfg.reward.weights)
        update = actor.update(batch)
        weights = actor.weights(version=step + 1)
        self.trio.load_weights(weights)
        self.step = step + 1
        phases = self.trio.clock.read() | {"score": self.scorer.seconds_after}
        versions = {"weights/version": weights.version, "weights/sha256": weights.sha256}
        self.monitor.log(step, groups, batch, update, self.spent, phases, time.monotonic() - started, versions)
        if update["skipped_in_row"] >= self.algorithm.optimizer.max_skipped:
            saved = self.folder.save_step(step, batch, groups, read_groups(self.env, groups))
            raise Diverged(step, int(update["skipped_in_row"]), saved)

    def completions(self, step: int, problems: Sequence[Problem]) -> Completions:
        """One a request, with the place of its request, as they are finished."""
        return self.trio.rollout.generate(self.training_requests(step, problems), self.sampling())

    def training_problems(self, step: int, replacing: int = 0, count: int | None = None) -> list[Problem]:
        """The problems of a step, or the `replacing`th lot of `count` that dynamic sampling draws for it;
        the most telling of several candidates where the algorithm asks for that."""
        sampling, count = self.algorithm.sampling, count or self.algorithm.num_prompts
        first = (step * sampling.max_resample_rounds + replacing) * self.algorithm.num_prompts * sampling.candidates
        drawn = range(first, first + count * sampling.candidates)
        candidates = [self.env.problem(self.cfg.seed, "train", index) for index in drawn]
        if sampling.candidates == 1:
            return candidates
        size = sampling.trial_completions
        requests = self.requests(candidates, size, "trial", step, replacing)
        trials = self.scorer.score(candidates, self.trio.rollout.generate(requests, self.sampling()), size)
        self.spent.add("tried", trials)
        return [trial.problem for trial in select_by_pass_rate(trials, count)]

    def replace_equal(self, step: int, groups: list[Group]) -> list[Group]:
        """Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose rewards are all equal
        teach nothing; others take their places, as far as `max_resample_rounds` go."""
        for replacing in range(1, self.algorithm.sampling.max_resample_rounds):
            equal = sum(not has_reward_variance(group) for group in groups)
            if equal == 0:
                break
            problems = self.training_problems(step, replacing, equal)
            completions = self.trio.rollout.generate(self.training_requests(step, problems, replacing), self.sampling())
            fresh = self.scorer.score(problems, completions, self.algorithm.group_size)
            groups, dropped = replaced(groups, fresh)
            self.spent.add("dropped", dropped)
        return groups

    def training_requests(self, step: int, problems: Sequence[Problem], replacing: int = 0) -> list[Request]:
        named = ("train", step, replacing) if replacing else ("train", step)
        return self.requests(problems, self.algorithm.group_size, *named)

    def requests(self, problems: Sequence[Problem], size: int, *name: object) -> list[Request]:
        """`size` for each problem, with seeds that are functions of the run's seed and of `name`."""
        return [
            Request(problem.prompt, request_seed(self.cfg.seed, *name, place, sample))
            for place, problem in enumerate(problems)
            for sample in range(size)
        ]

    def sampling(self) -> SamplingParams:
        cfg = self.algorithm.sampling
        return SamplingParams(cfg.temperature, self.cfg.model.max_completion_tokens, cfg.top_p, cfg.top_k)

    def is_done(self) -> bool:
        enough_tokens = self.cfg.num_tokens is not None and self.monitor.progress.tokens >= self.cfg.num_tokens
        return enough_tokens or self.step >= self.cfg.num_steps

    def budget_is_spent(self) -> bool:
        budget, monitor = self.cfg.budget.usd, self.monitor
        if not budget_exceeded(budget, monitor.meter, monitor.progress.rows):
            return False
        monitor.terminal.say(
            f"budget.usd={budget} would be passed by another step (${monitor.meter.usd:.2f} so far); with a larger "
            "budget the same command goes on"
        )
        self.checkpoint()
        return True

    def maybe_evaluate(self) -> None:
        if self.step == 0:
            self.evaluate(self.held_out, greedy=True)
        elif self.cfg.evaluation.every and self.step % self.cfg.evaluation.every == 0:
            self.evaluate(self.held_out[: self.cfg.evaluation.interim_problems], greedy=False)

    def evaluate(self, problems: Sequence[Problem], greedy: bool) -> Evaluation:
        def generate(problems: Sequence[Problem], temperature: float) -> Iterator[tuple[int, Completion]]:
            requests = [Request(p.prompt, request_seed(self.cfg.seed, "evaluation", p.key)) for p in problems]
            sampling = SamplingParams(temperature, self.cfg.model.max_completion_tokens)
            return self.trio.rollout.generate(requests, sampling, phase="evaluate")

        judged = self.cfg.evaluation.judged_completions
        evaluation = evaluate(generate, self.scorer, problems, greedy, self.judge, judged)
        self.monitor.log_evaluation(self.step, evaluation)
        return evaluation

    def maybe_checkpoint(self) -> None:
        if self.step % self.cfg.checkpoint.every == 0 or self.is_done():
            self.checkpoint()

    def checkpoint(self) -> None:
        write_checkpoint(self.folder.checkpoints, self.step, self.trio.save, self.cfg.checkpoint.keep)

    def resume(self) -> int:
        """Load the newest whole checkpoint, if any, and give the sampler the actor's weights."""
        path = newest_whole(self.folder.checkpoints, self.monitor.terminal.say)
        step = 0
        if path is not None:
            step = step_of(path)
            self.trio.load(path)
            self.monitor.terminal.say(f"going on from {path}")
        self.folder.rewind(step)
        rows = self.folder.metric_rows()
        self.monitor.terminal.rows = list(rows)
        self.monitor.progress.rows = list(rows)
        self.trio.give_weights(self.trio.actor.weights(version=step))
        self.trio.clock.read()
        return step


class AheadTraining(Training):
    """Training and generation side by side: a step's completions are begun before the step that comes first
    trains, so their weights are one version old, and never older. The first step after a start has none that
    were begun before, and its completions are of the newest weights."""

    begun: Completions | None = None

    def completions(self, step: int, problems: Sequence[Problem]) -> Completions:
        now = self.begun or super().completions(step, problems)
        following = step + 1 < self.cfg.num_steps
        self.begun = super().completions(step + 1, self.training_problems(step + 1)) if following else None
        return now


def train(cfg: Config, folder: RunFolder, resolved: Mapping[str, Any]) -> None:
    """A whole run, from an empty or a half-done run folder to summary.json and report.html. When a process that
    holds a part of the model dies, it goes on from the last checkpoint by itself."""
    console, interrupt = Console(), Interrupt()
    print_start(console, cfg, folder)
    for starts_left in reversed(range(cfg.topology.max_restarts + 1)):
        progress = Progress(cfg.num_steps, cfg.num_tokens)
        terminal = Terminal(progress, console)
        try:
            start(cfg, folder, resolved, interrupt, terminal)
            break
        except WorkerDied as error:
            if not starts_left:
                raise SystemExit(f"error: {error}; topology.max_restarts={cfg.topology.max_restarts}") from error
            terminal.say(f"{error}; going on from the last checkpoint")
        except Interrupted:
            report = write_report([folder.path])
            terminal.say(f"stopped; the same command goes on from the last checkpoint; so far: {report}")
            return
        except (Diverged, WorkerTimeout, TimeoutError) as error:
            raise SystemExit(f"error: {error}") from error
    print_end(console, folder)
    terminal.say(f"report: {write_report([folder.path])}")


def start(
    cfg: Config, folder: RunFolder, resolved: Mapping[str, Any], interrupt: Interrupt, terminal: Terminal
) -> None:
    """The trio and what watches it, for as long as the run lasts or nothing dies."""
    meter = Meter(seconds_before(folder.metric_rows()))
    with start_trio(cfg, interrupt) as trio:
        with checking_settings():
            meter.price = price_of(cfg.cost, cfg.budget.usd, trio.gpus)
            judge = make_judge(cfg, trio.device)
            behavior_judge = make_behavior_judge(cfg, trio.device)
        tracker = make_tracker(cfg.tracker, folder.path, resolved, terminal.say)
        with (
            Scorer(cfg.env, cfg.reward, judge) as scorer,
            Monitor(cfg.env, folder, tracker, terminal, terminal.progress, meter) as monitor,
        ):
            kind = AheadTraining if cfg.topology.max_off_policy_steps else Training
            training = kind(cfg, folder, trio, scorer, monitor, behavior_judge)
            training.run()
            monitor.finish(trio.actor.weights(version=training.step).sha256)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(raw: DictConfig) -> None:
    with checking_settings():
        cfg = OmegaConf.to_object(raw)
        assert isinstance(cfg, Config)
        resolved: Any = OmegaConf.to_container(raw, resolve=True)
        resolved["git"] = git_commit(Path(__file__).parent)
        folder = RunFolder.of(cfg.run)
        check_model(cfg.model)
        check_optimizer(cfg.algorithm.optimizer)
        check_tracker(cfg.tracker)
        check_topology(cfg)
        cfg.env.eval_set(cfg.evaluation.num_problems)
        folder.claim(resolved)
    if folder.is_finished(cfg.num_steps, cfg.num_tokens):
        print_end(Console(), folder)
        print(f"this run is finished; choose run=NAME for another, or a larger num_steps than {cfg.num_steps} to go on")
        return
    train(cfg, folder, resolved)


if __name__ == "__main__":
    launch(main, Config)

"""Train a learned verifier: a value head that predicts how likely a completion leads to the correct answer.

    make verifier RUN=countdown-tiny-seed0
    python -m tools.train_verifier model=smollm2-135m env=gsm8k verifier.samples=16

The model samples completions of training problems, the exact checker grades them, and the verifier is trained to
predict the grade (arXiv 2110.14168). A part of the problems is held back for validation. The result,
outputs/<run>/verifier/, is used by evaluate.py with strategy.verifier=learned.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from conf.compose import compose_verifier
from conf.launch import checking_settings, explaining_errors, refuse
from conf.verifiers import TrainVerifierConfig
from envs.score import Scorer
from envs.splits import unique
from grpo.types import Group, Problem, Request, SamplingParams, request_seed
from inference.calibration import Calibration, calibration
from inference.run_settings import run_settings
from workers.download import WEIGHTS, download
from workers.interrupt import Interrupt, Interrupted
from workers.judge import make_judge
from workers.machine import check_machine
from workers.models import check_model, fitting_problems, pick_device
from workers.outcome_verifier import OutcomeVerifier
from workers.rank_group import WorkerDied, WorkerFailed, WorkerTimeout
from workers.rollout import RolloutPool
from workers.session import ray_session
from workers.verifier_training import EpochLosses, graded_completions, split_by_problem, train


def draw_problems(cfg: TrainVerifierConfig) -> list[Problem]:
    """Return distinct problems of the training split, drawn with a seed that training does not use.

    Raises:
        ValueError: there are fewer than two.
    """
    seed = request_seed(cfg.seed, "verifier problems")
    fitting = fitting_problems(cfg.env, cfg.model)
    fitting.check(seed, cfg.verifier.num_problems)
    drawn = (fitting.training(seed, index) for index in range(cfg.verifier.num_problems))
    problems = list(unique(drawn).values())
    if len(problems) < 2:
        raise ValueError(
            f"verifier.num_problems={cfg.verifier.num_problems}: a verifier needs two different training problems, one "
            f"of them for validation, but env {cfg.env.name} has {len(problems)}; use more, or other data"
        )
    return problems


def sample(cfg: TrainVerifierConfig, problems: Sequence[Problem], device: str, interrupt: Interrupt) -> list[Group]:
    """Return `verifier.samples` graded completions of each problem."""
    num_samples = cfg.verifier.samples
    requests = [
        Request(problem.prompt, request_seed(cfg.seed, "verifier", problem.key, index))
        for problem in problems
        for index in range(num_samples)
    ]
    sampling = SamplingParams(cfg.verifier.temperature, cfg.model.max_completion_tokens)
    with ray_session(cfg, cfg.folder / "verifier", device, interrupt) as session:
        with checking_settings():
            judge = make_judge(cfg, device)
        with Scorer(cfg.env, cfg.reward, judge) as scorer:
            rollout = RolloutPool(cfg, session)
            return scorer.score(problems, rollout.generate(requests, sampling), num_samples)


def validate(verifier: OutcomeVerifier, groups: Sequence[Group]) -> Calibration:
    """Measure the quality of the verifier's scores on these problems."""
    by_problem = [graded_completions([group]) for group in groups]
    completions = [completion for row in by_problem for completion in row]
    scores = iter(verifier.score_ids([one.prompt_ids for one in completions], [one.token_ids for one in completions]))
    return calibration(
        [[next(scores) for _ in row] for row in by_problem],
        [[completion.right for completion in row] for row in by_problem],
    )


def train_verifier(cfg: TrainVerifierConfig, problems: Sequence[Problem], device: str, console: Console) -> None:
    """Sample, train, validate, and write the verifier's folder."""
    interrupt = Interrupt()
    training, held_back = split_by_problem(sample(cfg, problems, device, interrupt), cfg.verifier.held_back)
    completions, validation = graded_completions(training), graded_completions(held_back)
    right = sum(completion.right for completion in completions)
    if right in (0, len(completions)):
        refuse(
            f"{right} of {len(completions)} completions are correct, but a verifier needs both correct and wrong ones; "
            f"increase verifier.num_problems={cfg.verifier.num_problems}, or choose an env that the model solves "
            "sometimes"
        )
    console.print(f"{len(problems)} problems; {right} of {len(completions)} training completions are correct")

    def on_epoch(epoch: EpochLosses) -> None:
        console.print(f"training loss {epoch.training_loss:.4f}, validation loss {epoch.validation_loss:.4f}")

    verifier = OutcomeVerifier(cfg.model, device, cfg.verifier.train_backbone, cfg.seed)
    epochs = train(verifier, completions, validation, cfg.verifier, cfg.seed, on_epoch, interrupt)
    quality = validate(verifier, held_back)
    metadata = {
        "env": asdict(cfg.env),
        "seed": cfg.seed,
        "settings": asdict(cfg.verifier),
        "training_problems": len(training),
        "epochs": [asdict(epoch) for epoch in epochs],
        "validation": asdict(quality),
    }
    verifier.save(cfg.folder / "verifier", cfg.model, metadata)
    report(console, quality, cfg.folder / "verifier")


def report(console: Console, quality: Calibration, folder: Path) -> None:
    auc, auc_within = ("n/a" if value is None else f"{value:.3f}" for value in (quality.auc, quality.auc_within))
    lines = [
        f"on {quality.problems} held-back problems, {quality.completions} completions, {quality.right:.1%} correct: "
        f"AUC {auc}, AUC within a problem {auc_within}, accuracy at 0.5 {quality.accuracy:.1%}, "
        f"Brier score {quality.brier:.4f} (a constant prediction: {quality.right * (1 - quality.right):.4f})"
    ]
    lines += [
        f"  score {bin.low:.1f} to {bin.low + 0.1:.1f}: {bin.count:5d} completions, mean score {bin.mean_score:.2f}, "
        f"correct {bin.right:.2f}"
        for bin in quality.reliability
    ]
    console.print("\n".join([*lines, f"wrote {folder}"]), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    console = Console()
    with checking_settings():
        cfg = run_settings(compose_verifier, sys.argv[1:])
        check_model(cfg.model, cfg.rollout, cfg.topology)
        check_machine(cfg.topology.ray_address)
        device, problems = pick_device(cfg.topology.device), draw_problems(cfg)
        download(cfg.model.source, WEIGHTS)
    try:
        train_verifier(cfg, problems, device, console)
    except Interrupted:
        console.print("stopped; no verifier was written")
    except (WorkerTimeout, WorkerDied, WorkerFailed, TimeoutError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    with explaining_errors():
        main()

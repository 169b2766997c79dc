"""Train a learned verifier: a value head that reads how likely a completion leads to the right answer.

    make verifier RUN=countdown-tiny-seed0
    python -m tools.train_verifier model=smollm2-135m env=gsm8k verifier.samples=16

The model writes completions for training problems, the exact checker says which are right, and the head learns
to tell (arXiv 2110.14168); a part of the problems is held back to see how well it does on others. The result,
outputs/<run>/verifier/, is what strategy.verifier=learned of evaluate.py reads.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.compose import compose_verifier
from conf.launch import checking_settings, refuse
from conf.verifiers import TrainVerifierConfig
from envs.score import Scorer
from envs.splits import unique
from grpo.types import Group, Problem, Request, SamplingParams, request_seed
from inference.calibration import figures
from workers.interrupt import Interrupt, Interrupted
from workers.judge import make_judge
from workers.models import check_model
from workers.outcome_verifier import OutcomeVerifier
from workers.rollout import RolloutPool
from workers.run_settings import settings
from workers.session import pick_device, ray_session
from workers.verifier_training import Epoch, attempts_of, split_by_problem, train


def problems_of(cfg: TrainVerifierConfig) -> list[Problem]:
    """Different problems of the training split, drawn with a seed that no training draws with."""
    seed = request_seed(cfg.seed, "verifier problems")
    drawn = (cfg.env.problem(seed, "train", index) for index in range(cfg.verifier.num_problems))
    return list(unique(drawn).values())


def sample(cfg: TrainVerifierConfig, problems: Sequence[Problem], device: str, interrupt: Interrupt) -> list[Group]:
    """`samples` completions of each problem, graded."""
    size = cfg.verifier.samples
    requests = [
        Request(problem.prompt, request_seed(cfg.seed, "verifier", problem.key, place))
        for problem in problems
        for place in range(size)
    ]
    sampling = SamplingParams(cfg.verifier.temperature, cfg.model.max_completion_tokens)
    judge = make_judge(cfg, device)
    with ray_session(cfg, device, interrupt) as session, Scorer(cfg.env, cfg.reward, judge) as scorer:
        rollout = RolloutPool(cfg, session)
        return scorer.score(problems, rollout.generate(requests, sampling), size)


def validate(verifier: OutcomeVerifier, groups: Sequence[Group]) -> dict[str, Any]:
    """The figures of inference/calibration.py on these problems."""
    by_problem = [attempts_of([group]) for group in groups]
    flat = [one for attempts in by_problem for one in attempts]
    scores = iter(verifier.score_ids([one.prompt_ids for one in flat], [one.token_ids for one in flat]))
    return figures(
        [[next(scores) for _ in attempts] for attempts in by_problem],
        [[one.right for one in attempts] for attempts in by_problem],
    )


def learn(cfg: TrainVerifierConfig, problems: Sequence[Problem], device: str, console: Console) -> None:
    """Sample, train, validate, and write the folder of the verifier."""
    interrupt = Interrupt()
    training, held_back = split_by_problem(sample(cfg, problems, device, interrupt), cfg.verifier.held_back)
    attempts, validation = attempts_of(training), attempts_of(held_back)
    right = sum(one.right for one in attempts)
    if right in (0, len(attempts)):
        refuse(
            f"{right} of {len(attempts)} completions are right, and a verifier learns from both kinds; choose a larger "
            f"verifier.num_problems than {cfg.verifier.num_problems}, or an env that the model solves sometimes"
        )
    console.print(f"{len(problems)} problems; {right} of {len(attempts)} completions to train on are right")

    def tell(epoch: Epoch) -> None:
        console.print(f"training loss {epoch.training_loss:.4f}, validation loss {epoch.validation_loss:.4f}")

    verifier = OutcomeVerifier(cfg.model, device, cfg.verifier.train_backbone, cfg.seed)
    epochs = train(verifier, attempts, validation, cfg.verifier, cfg.seed, tell, interrupt)
    found = validate(verifier, held_back)
    about = {
        "env": asdict(cfg.env),
        "seed": cfg.seed,
        "settings": asdict(cfg.verifier),
        "training_problems": len(training),
        "epochs": [asdict(epoch) for epoch in epochs],
        "validation": found,
    }
    verifier.save(cfg.folder / "verifier", cfg.model, about)
    report(console, found, cfg.folder / "verifier")


def report(console: Console, found: dict[str, Any], folder: Path) -> None:
    shares = {name: "none" if found[name] is None else f"{found[name]:.3f}" for name in ("auc", "auc_within")}
    said = [
        f"on {found['problems']} problems held back, {found['completions']} completions, {found['right']:.1%} right: "
        f"AUC {shares['auc']}, within a problem {shares['auc_within']}, accuracy at 0.5 {found['accuracy']:.1%}, "
        f"Brier {found['brier']:.4f} ({found['right'] * (1 - found['right']):.4f} by the share alone)"
    ]
    said += [
        f"  score {row['low']:.1f} to {row['low'] + 0.1:.1f}: {row['count']:5d} completions, mean score "
        f"{row['mean_score']:.2f}, right {row['right']:.2f}"
        for row in found["reliability"]
    ]
    console.print("\n".join([*said, str(folder)]), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    console = Console()
    with checking_settings():
        cfg = settings(compose_verifier, sys.argv[1:])
        check_model(cfg.model)
        device, problems = pick_device(cfg.topology.device), problems_of(cfg)
    try:
        learn(cfg, problems, device, console)
    except Interrupted:
        console.print("stopped; nothing was kept")


if __name__ == "__main__":
    main()

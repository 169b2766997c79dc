"""Evaluate a model: accuracy, and inference-time scaling on the rollout replicas that training uses.

    make eval RUN=countdown-tiny-seed0 ARGS="strategy=majority strategy.n=16"
    python evaluate.py model=smollm2-135m env=gsm8k strategy=best_of_n num_problems=64

The strategies (inference/strategies.py) of all problems run in lockstep, so that each round is one batch for the
engine. Results are written as problems finish, and an interrupted evaluation resumes.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.compose import compose_evaluation
from conf.launch import checking_settings, explaining_errors
from conf.strategies import DecodingConfig, EvaluateConfig
from conf.workers import ModelConfig
from envs.grading import GradingPool
from grpo.types import Chat, Completion, Problem, Request, SamplingParams, Score, in_request_order, sha256_of_problems
from inference.decoding import DIRECT_ENDS, Decoding, direct_prompt, revision_prompt
from inference.results import ProblemRow, Results, problem_row, summarize
from inference.run_settings import run_settings
from inference.runner import run
from inference.strategies import BeamSearch, BestOfN, BudgetForcing, MajorityVote, Revise, Sample
from inference.types import Item, Strategy, Verifier
from inference.verifiers import JudgeVerifier, LearnedVerifier, LogprobVerifier, OracleVerifier
from run.cost import price_of
from workers.checksum import weights_sha256
from workers.download import WEIGHTS, download
from workers.interrupt import Interrupt, Interrupted
from workers.judge import ask_of
from workers.machine import check_machine
from workers.models import check_model, fitting_problems, load_tokenizer, pick_device, stored_weights
from workers.outcome_verifier import OutcomeVerifier, check_verifier, verifier_id
from workers.rank_group import WorkerDied, WorkerFailed, WorkerTimeout
from workers.rollout import RolloutPool
from workers.session import ray_session
from workers.tokenization import encode

DEFAULT_SAMPLING = SamplingParams(temperature=1.0, max_tokens=1)  # unused: each request has its own parameters


class ModelCodec:
    """The tokenizer and the context of a model, as strategies use them."""

    def __init__(self, model: ModelConfig) -> None:
        self.tokenizer, self.model = load_tokenizer(model.source), model

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def fits(self, prompt: str | Chat) -> bool:
        return len(encode(self.tokenizer, prompt)) <= self.model.max_prompt_tokens


class RolloutEngine(ModelCodec):
    """The rollout replicas as the engine of a strategy; counts the generated tokens and the seconds of generation."""

    def __init__(self, rollout: RolloutPool, model: ModelConfig) -> None:
        super().__init__(model)
        self.rollout, self.tokens, self.seconds = rollout, 0, 0.0

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        started = time.monotonic()
        completions = in_request_order(self.rollout.generate(requests, DEFAULT_SAMPLING))
        self.seconds += time.monotonic() - started
        self.tokens += sum(len(completion.token_ids) for completion in completions)
        return completions


def make_strategy(cfg: DecodingConfig) -> Strategy:
    """Return the strategy of the settings.

    Raises:
        ValueError: a setting of the strategy is not allowed.
    """
    chosen = cfg.strategy
    decoding = Decoding(cfg.model.max_completion_tokens, chosen.temperature, cfg.seed, chosen.prompt)
    match chosen.name:
        case "greedy":
            return Sample(decoding)
        case "sample":
            return Sample(decoding, chosen.n)
        case "majority":
            return MajorityVote(decoding, chosen.n)
        case "best_of_n":
            return BestOfN(decoding, chosen.n, chosen.weighted)
        case "beam":
            return BeamSearch(decoding, chosen.beams, chosen.expand, max_step_tokens=chosen.max_step_tokens)
        case "budget":
            return BudgetForcing(decoding, chosen.waits, chosen.cap, chosen.wait)
        case _:
            return Revise(decoding, chosen.rounds)


def written_prompt(cfg: DecodingConfig) -> Callable[[str | Chat], str | Chat]:
    """Return what the strategy makes of a problem's prompt. A revision prompt has no answer yet; its length with the
    answer is checked when it is written."""

    def written(prompt: str | Chat) -> str | Chat:
        asked = direct_prompt(prompt) if cfg.strategy.prompt == "direct" else prompt
        return revision_prompt(asked, "") if cfg.strategy.name == "revise" else asked

    return written


def make_verifier(cfg: DecodingConfig, graders: GradingPool, device: str) -> Verifier | None:
    """Return the verifier of the settings; None if the strategy uses none.

    Raises:
        ValueError: the judge does not answer.
    """
    if not cfg.strategy.uses_verifier:
        return None
    if cfg.learned_verifier is not None:
        return LearnedVerifier(OutcomeVerifier.load(cfg.learned_verifier, cfg.model, device).score)
    if cfg.strategy.verifier == "judge":
        return JudgeVerifier(ask_of(cfg.judge, "judge", cfg, device))
    return OracleVerifier(partial(grade, graders)) if cfg.strategy.verifier == "oracle" else LogprobVerifier()


def grade(graders: GradingPool, items: Sequence[Item]) -> list[Score]:
    """Grade the candidates in processes that can be killed."""
    scores = [graders.submit(problem, candidate.text, len(candidate.token_ids)) for problem, candidate in items]
    return [score.result() for score in scores]


def solve(cfg: DecodingConfig, problems: Sequence[Problem], results: Results) -> dict[str, ProblemRow]:
    """Run the strategy on the problems and write the row of each as it finishes; returns the rows by problem key."""
    rows: dict[str, ProblemRow] = {}
    interrupt, device, started = Interrupt(), pick_device(cfg.topology.device), time.monotonic()
    with (
        ray_session(cfg, results.lines, device, interrupt) as session,
        closing(GradingPool(cfg.env, cfg.reward)) as graders,
    ):
        engine = RolloutEngine(RolloutPool(cfg, session), cfg.model)
        with checking_settings():
            verifier = make_verifier(cfg, graders, device)
        try:
            for index, output in run(make_strategy(cfg), problems, engine, verifier, cfg.max_requests):
                problem = problems[index]
                scores = grade(graders, [(problem, candidate) for candidate in output.candidates])
                rows[problem.key] = problem_row(problem, output, scores)
                results.add(rows[problem.key])
        finally:
            seconds, price = time.monotonic() - started, price_of(cfg.cost, None, session.gpus)
            results.add_spent(seconds, engine.seconds, engine.tokens, seconds / 3600 * price.usd_per_hour)
            if isinstance(verifier, JudgeVerifier) and verifier.failed:
                print(f"the judge gave no score to {verifier.failed} of {verifier.asked} candidates, which count as 0")
    return rows


def solve_missing(
    cfg: DecodingConfig, problems: Sequence[Problem], results: Results, done: dict[str, ProblemRow]
) -> dict[str, ProblemRow]:
    """Solve the problems that have no row in `done` and return all rows by problem key.

    Raises:
        SystemExit: the user stopped the command, or a worker failed; finished rows are kept.
    """
    missing = [problem for problem in problems if problem.key not in done]
    try:
        return done | (solve(cfg, missing, results) if missing else {})
    except Interrupted:
        print("stopped; run the same command again to continue with the remaining problems")
        raise SystemExit(0) from None
    except (WorkerTimeout, WorkerDied, WorkerFailed, TimeoutError) as error:
        raise SystemExit(f"error: {error}") from error


def check(cfg: DecodingConfig) -> None:
    """Check the settings and what they refer to, before any process starts.

    Raises:
        ValueError: the model or the verifier is missing, a setting of the strategy is not allowed, or something on this
            machine is in the way of Ray.
    """
    check_model(cfg.model, cfg.rollout, cfg.topology)
    check_machine(cfg.topology.ray_address)
    if cfg.learned_verifier is not None:
        check_verifier(cfg.learned_verifier, cfg)
    make_strategy(cfg)
    download(cfg.model.source, WEIGHTS)


def check_strategy(cfg: DecodingConfig, problem: Problem) -> None:
    """Begin the strategy on a problem, as far as its first request, which needs no engine.

    Raises:
        ValueError: the model's vocabulary lacks a text of the strategy, or no token is left for an answer.
    """
    next(make_strategy(cfg)(problem, ModelCodec(cfg.model)))


def result_settings(cfg: DecodingConfig) -> dict[str, Any]:
    """Return the settings that determine the result."""
    settings: dict[str, Any] = {"verifier": verifier_id(cfg.learned_verifier)} if cfg.learned_verifier else {}
    if cfg.strategy.uses_verifier and cfg.strategy.verifier == "judge":
        settings = {"judge": {"model": cfg.judge.model, "base_url": cfg.judge.base_url}}
    if cfg.strategy.name == "revise":  # others write no prompts, and problems with too long ones are refused
        settings["max_prompt_tokens"] = cfg.model.max_prompt_tokens
    if cfg.strategy.prompt == "direct":  # results from before these ended the completion are not continued
        settings["direct_ends"] = list(DIRECT_ENDS)
    return settings | {
        "model": cfg.model.source,
        "weights_sha256": weights_sha256(stored_weights(cfg.model.source)),
        "dtype": cfg.model.dtype,
        "env": asdict(cfg.env),
        "seed": cfg.seed,
        "num_problems": cfg.num_problems,
        "strategy": asdict(cfg.strategy),
        "max_tokens": cfg.model.max_completion_tokens,
    }


def report(console: Console, cfg: EvaluateConfig, summary: dict[str, Any], path: Path) -> None:
    accuracy, spent = summary["accuracy"], summary["spent"]
    lines = [
        f"{cfg.strategy.label} on {summary['problems']} held-out problems of {cfg.env.name}: accuracy "
        f"{accuracy['mean']:.1%} (95% interval {accuracy['low']:.1%} to {accuracy['high']:.1%}), "
        f"{summary['tokens_per_problem']:.0f} tokens per problem"
    ]
    if errors := summary["grader_errors"]:
        lines.append(f"the grader failed on {errors} completions, which count as wrong; see `error` in the .jsonl file")
    if stopped := summary["too_long_prompts"]:
        lines.append(
            f"the revision of {stopped} problems ended early, because the next prompt would have more than "
            f"model.max_prompt_tokens={cfg.model.max_prompt_tokens} tokens"
        )
    for measure in ("pass_at", "majority_at"):
        values = [f"{k}: {value['mean']:.1%}" for k, value in summary[measure].items()]
        if len(values) > 1:
            lines.append(f"{measure.replace('_at', '@k')}  " + "  ".join(values))
    rates = [spent["tokens"] / max(spent[name], 1e-9) for name in ("generating_seconds", "seconds")]
    lines.append(f"{rates[0]:,.0f} tokens/s of generation, {rates[1]:,.0f} tokens/s including startup; wrote {path}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    console = Console()
    with checking_settings():
        cfg = run_settings(compose_evaluation, sys.argv[1:])
        check(cfg)
        problems = fitting_problems(cfg.env, cfg.model, written_prompt(cfg)).held_out(cfg.num_problems)
        if not problems:
            raise ValueError(f"env={cfg.env.name} has no problems to evaluate on; choose a task, such as env=countdown")
        check_strategy(cfg, problems[0])
        settings = result_settings(cfg) | {"problems": sha256_of_problems(problems)}
        results = Results(cfg.results_folder / "eval", cfg.name or f"{cfg.strategy.label}-seed{cfg.seed}")
        done = results.open(settings)
    rows = solve_missing(cfg, problems, results, done)
    summary = {"settings": settings, **summarize([rows[p.key] for p in problems], cfg.strategy.samples)}
    summary["spent"] = results.total_spent
    results.write_summary(summary)
    report(console, cfg, summary, results.summary)


if __name__ == "__main__":
    with explaining_errors():
        main()

"""Accuracy, and inference-time scaling: better answers by spending tokens, on the workers that training uses.

    make eval RUN=countdown-tiny-seed0 ARGS="strategy=majority strategy.n=16"
    python evaluate.py model=smollm2-135m env=gsm8k strategy=best_of_n num_problems=64

A strategy (inference/) is a function of a problem; those of all problems go in lockstep, so that each round is
one batch for the engine. Results are written as they come, and an evaluation that was stopped goes on.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from conf.compose import compose_evaluation
from conf.launch import checking_settings
from conf.strategies import EvaluateConfig
from envs.grading import GradingPool
from grpo.types import Completion, Problem, Request, SamplingParams, in_request_order
from inference.beam import Beam
from inference.budget import Budget
from inference.engine import Ask, Candidate, StrategyOf
from inference.results import Results, row_of, summarize
from inference.revise import Revise
from inference.runner import run
from inference.strategies import BestOfN, Majority, Sample, greedy
from inference.verifiers import Judge, Learned, Oracle, OwnLogprob, Verifier
from inference.writing import Decoding
from workers.interrupt import Interrupt, Interrupted
from workers.judge import ask_of
from workers.models import check_model, load_tokenizer
from workers.outcome_verifier import OutcomeVerifier, check_verifier, verifier_id
from workers.rank_group import WorkerDied, WorkerTimeout
from workers.rollout import RolloutPool
from workers.run_settings import settings
from workers.session import pick_device, ray_session


class RolloutEngine:
    """The rollout workers as a strategy's engine; it counts what it generates and how long that takes."""

    def __init__(self, rollout: RolloutPool, source: str) -> None:
        self.rollout, self.tokenizer = rollout, load_tokenizer(source)
        self.tokens, self.seconds = 0, 0.0

    def generate(self, asks: Sequence[Ask]) -> list[Completion]:
        started = time.monotonic()
        requests = [
            Request(ask.prompt, ask.seed, ask.written, SamplingParams(ask.temperature, ask.max_tokens, stop=ask.stop))
            for ask in asks
        ]
        completions = in_request_order(self.rollout.generate(requests, SamplingParams(1.0, 1))) if asks else []
        self.seconds += time.monotonic() - started
        self.tokens += sum(len(completion.token_ids) for completion in completions)
        return completions

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True)


def strategy_of(cfg: EvaluateConfig) -> StrategyOf:
    """The strategy that the settings ask for.

    Raises:
        ValueError: a setting of it.
    """
    chosen = cfg.strategy
    decoding = Decoding(cfg.model.max_completion_tokens, chosen.temperature, cfg.seed, chosen.prompt)
    match chosen.name:
        case "greedy":
            return greedy(decoding)
        case "sample":
            return Sample(decoding, chosen.n)
        case "majority":
            return Majority(decoding, chosen.n)
        case "best_of_n":
            return BestOfN(decoding, chosen.n, chosen.weighted)
        case "beam":
            return Beam(decoding, chosen.beams, chosen.expand, max_step_tokens=chosen.max_step_tokens)
        case "budget":
            return Budget(decoding, chosen.waits, chosen.cap, chosen.wait)
        case _:
            return Revise(decoding, chosen.rounds)


class Checker:
    """Which candidates are exactly correct, graded in processes that can be killed."""

    def __init__(self, pool: GradingPool) -> None:
        self.pool = pool

    def __call__(self, problem: Problem, candidate: Candidate) -> bool:
        return self.all(problem, [candidate])[0]

    def all(self, problem: Problem, candidates: Sequence[Candidate]) -> list[bool]:
        scores = [self.pool.submit(problem, one.text, len(one.token_ids)) for one in candidates]
        return [score.result().correct for score in scores]


def verifier_of(cfg: EvaluateConfig, check: Checker, device: str) -> Verifier | None:
    if not cfg.strategy.verifies:
        return None
    if cfg.learned_verifier is not None:
        return Learned(OutcomeVerifier.load(cfg.learned_verifier, cfg.model, device).score)
    if cfg.strategy.verifier == "judge":
        return Judge(ask_of(cfg.judge, device))
    return Oracle(check) if cfg.strategy.verifier == "oracle" else OwnLogprob()


@contextmanager
def graders(cfg: EvaluateConfig) -> Iterator[Checker]:
    pool = GradingPool(cfg.env, cfg.reward)
    try:
        yield Checker(pool)
    finally:
        pool.close()


def answer(cfg: EvaluateConfig, missing: Sequence[Problem], results: Results) -> dict[str, dict[str, Any]]:
    """Answer these problems, and write each one's row as it is finished; the rows by key."""
    rows: dict[str, dict[str, Any]] = {}
    interrupt, device, started = Interrupt(), pick_device(cfg.topology.device), time.monotonic()
    with ray_session(cfg, device, interrupt) as session, graders(cfg) as check:
        engine = RolloutEngine(RolloutPool(cfg, session), cfg.model.source)
        verifier = verifier_of(cfg, check, device)
        try:
            for place, outcome in run(strategy_of(cfg), missing, engine, verifier, cfg.max_asks):
                problem = missing[place]
                rows[problem.key] = row_of(problem, outcome, check.all(problem, outcome.candidates))
                results.add(rows[problem.key])
        finally:
            results.add_spent(time.monotonic() - started, engine.seconds, engine.tokens)
    return rows


def describe(cfg: EvaluateConfig) -> dict[str, Any]:
    """What decides the result."""
    learned = {"verifier": verifier_id(cfg.learned_verifier)} if cfg.learned_verifier else {}
    return learned | {
        "model": cfg.model.source,
        "env": asdict(cfg.env),
        "seed": cfg.seed,
        "num_problems": cfg.num_problems,
        "strategy": asdict(cfg.strategy),
        "max_tokens": cfg.model.max_completion_tokens,
    }


def report(console: Console, cfg: EvaluateConfig, summary: dict[str, Any], path: Path) -> None:
    accuracy, spent = summary["accuracy"], summary["spent"]
    said = [
        f"{cfg.strategy.label} on {summary['problems']} held-out problems of {cfg.env.name}: accuracy "
        f"{accuracy['mean']:.1%} (95%: {accuracy['low']:.1%} to {accuracy['high']:.1%}), "
        f"{summary['tokens_per_problem']:.0f} tokens a problem"
    ]
    for measure in ("pass_at", "majority_at"):
        values = [f"{k}: {value['mean']:.1%}" for k, value in summary[measure].items()]
        if len(values) > 1:
            said.append(f"{measure.replace('_at', '@')}  " + "  ".join(values))
    rates = [spent["tokens"] / max(spent[name], 1e-9) for name in ("generating_seconds", "seconds")]
    said.append(f"{rates[0]:,.0f} tokens/s while generating, {rates[1]:,.0f} with the start; {path}")
    console.print("\n".join(said), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    console = Console()
    with checking_settings():
        cfg = settings(compose_evaluation, sys.argv[1:])
        check_model(cfg.model)
        if cfg.learned_verifier is not None:
            check_verifier(cfg.learned_verifier, cfg)
        problems = cfg.env.eval_set(cfg.num_problems)
        strategy_of(cfg)
        results = Results(cfg.folder / "eval", cfg.name or f"{cfg.strategy.label}-seed{cfg.seed}")
        done = results.claim(describe(cfg))
    missing = [problem for problem in problems if problem.key not in done]
    try:
        rows = done | (answer(cfg, missing, results) if missing else {})
    except Interrupted:
        console.print("stopped; the same command goes on with the problems that are left")
        return
    except (WorkerTimeout, WorkerDied, TimeoutError) as error:
        raise SystemExit(f"error: {error}") from error
    summary = {"settings": describe(cfg), **summarize([rows[p.key] for p in problems], cfg.strategy.samples)}
    summary["spent"] = results.total_spent
    results.write_summary(summary)
    report(console, cfg, summary, results.summary)


if __name__ == "__main__":
    main()

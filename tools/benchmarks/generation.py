"""Compare the seconds of our generation with those of vLLM alone, on the same prompts and seeds.

    python -m tools.benchmarks.generation --rounds 3 model=tiny env=countdown num_problems=128 strategy.n=8

vLLM alone is a single `LLM.generate` in its own process. It returns what training needs, and what the others return:
the tokens, their text and their log-probabilities; "tokens only" is the same call without the last two. The rollout is
the pool of Ray actors that a training step calls. evaluate.py adds the strategy runner. All are timed from the first
request to the last completion, after a warm-up. The results are written to
tools/benchmarks/results/generation-<model>.json; tools.benchmarks.tables prints them.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from conf.compose import compose_evaluation
from conf.launch import checking_settings
from conf.strategies import EvaluateConfig
from evaluate import RolloutEngine, make_strategy
from grpo.types import Problem, Request, SamplingParams, request_seed
from inference.runner import run
from tools.benchmarks.measurement import RAY_NICE, RESULTS, in_fresh_process, record, spread, versions, write_result
from workers.interrupt import Interrupt
from workers.models import load_tokenizer, pick_device
from workers.rollout import VLLM_CPU_ENVIRONMENT, VLLM_ENVIRONMENT, RolloutPool
from workers.session import ray_session
from workers.tokenization import encode

WARM_UP = 8  # problems


def rollout(cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    """(tokens, seconds) of the rollout pool, which gets all requests at once, as in a training step."""
    requests = [
        Request(problem.prompt, seed_of(cfg, problem.key, sample))
        for problem in problems
        for sample in range(cfg.strategy.n)
    ]
    sampling = SamplingParams(cfg.strategy.temperature, cfg.model.max_completion_tokens)
    with ray_session(cfg, RESULTS, pick_device(cfg.topology.device), Interrupt()) as session:
        pool = RolloutPool(cfg, session)
        list(pool.generate(requests[: WARM_UP * cfg.strategy.n], sampling))
        started = time.monotonic()
        completions = list(pool.generate(requests, sampling))
        return sum(len(completion.token_ids) for _, completion in completions), time.monotonic() - started


def evaluation(cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    """(tokens, seconds) of the strategy "sample"."""
    interrupt, device = Interrupt(), pick_device(cfg.topology.device)
    with ray_session(cfg, RESULTS, device, interrupt) as session:
        engine = RolloutEngine(RolloutPool(cfg, session), cfg.model)
        list(run(make_strategy(cfg), problems[:WARM_UP], engine))
        before, started = engine.tokens, time.monotonic()
        list(run(make_strategy(cfg), problems, engine))
        return engine.tokens - before, time.monotonic() - started


def seed_of(cfg: EvaluateConfig, key: str, sample: int) -> int:
    """The seed with which evaluate.py samples a completion."""
    return request_seed((cfg.seed, key, sample, 0))


def alone(only_tokens: bool, cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    """The same with vLLM's own interface, in a fresh process with the environment of a rollout replica."""
    on_cpu = pick_device(cfg.topology.device) == "cpu"
    os.environ |= VLLM_ENVIRONMENT | (VLLM_CPU_ENVIRONMENT if on_cpu else {})
    return in_fresh_process(cfg.rollout.threads, _alone, only_tokens, cfg, problems)


def _alone(only_tokens: bool, cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    os.nice(RAY_NICE)
    device = pick_device(cfg.topology.device)
    from vllm import SamplingParams, TokensPrompt

    from workers.rank_group import RankInfo
    from workers.rollout import VllmSampler

    llm = VllmSampler(cfg.model, cfg.rollout, cfg.topology, RankInfo("rollout", device=device)).llm
    tokenizer = load_tokenizer(cfg.model.source)
    ids = {problem.key: encode(tokenizer, problem.prompt) for problem in problems}
    asked = [(problem.key, sample) for problem in problems for sample in range(cfg.strategy.n)]
    prompts = [TokensPrompt(prompt_token_ids=ids[key]) for key, _ in asked]
    params = [
        SamplingParams(
            temperature=cfg.strategy.temperature,
            max_tokens=cfg.model.max_completion_tokens,
            seed=seed_of(cfg, key, sample),
            logprobs=None if only_tokens else 0,
            detokenize=not only_tokens,
        )
        for key, sample in asked
    ]
    first = WARM_UP * cfg.strategy.n
    llm.generate(prompts[:first], params[:first], use_tqdm=False)
    started = time.monotonic()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs), time.monotonic() - started


MEASUREMENTS: dict[str, Callable[[EvaluateConfig, list[Problem]], tuple[int, float]]] = {
    "vLLM alone": partial(alone, False),
    "vLLM alone, tokens only": partial(alone, True),
    "rollout": rollout,
    "evaluate.py": evaluation,
}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmarks.generation", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of evaluate.py")
    args = parser.parse_intermixed_args()
    with checking_settings():
        cfg = compose_evaluation([*args.overrides, "strategy=sample"], {})
        problems = cfg.env.eval_set(cfg.num_problems)
    rounds: list[dict[str, Any]] = []
    for _ in range(args.rounds):
        rounds.append({})
        for name, measure in MEASUREMENTS.items():
            tokens, seconds = measure(cfg, problems)
            rounds[-1][name] = {"tokens": tokens, "seconds": seconds}
            print(f"{name}: {tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s", flush=True)
    for name in ("rollout", "evaluate.py"):
        ratios = [found[name]["seconds"] / found["vLLM alone"]["seconds"] for found in rounds]
        print(f"seconds of {name} / vLLM alone: {spread(ratios)}")
    workload = {"overrides": args.overrides, "completions": len(problems) * cfg.strategy.n}
    fields = {"versions": versions(Path(sys.prefix)), "workload": workload, "rounds": rounds}
    print(f"wrote {write_result(args.results, record('generation', cfg.model.name, **fields))}")


if __name__ == "__main__":
    main()

"""Compare the tokens per second of evaluate.py with vLLM alone, on the same prompts and seeds.

    python -m tools.benchmarks.generation --rounds 3 model=tiny env=countdown num_problems=128 strategy.n=8

vLLM alone is a single `LLM.generate` in its own process; the other measurement goes through Ray, the rollout worker and
the strategy runner, as evaluate.py does. Both are timed from the first request to the last completion, after a warm-up.
"""

import argparse
import multiprocessing
import os
import time
from statistics import median

from conf.compose import compose_evaluation
from conf.launch import checking_settings
from conf.strategies import EvaluateConfig
from evaluate import RolloutEngine, make_strategy
from grpo.types import Problem, request_seed
from inference.runner import run
from workers.interrupt import Interrupt
from workers.models import encode, load_tokenizer
from workers.rollout import VLLM_CPU_ENVIRONMENT, VLLM_ENVIRONMENT, RolloutPool
from workers.session import PASSIVE_THREADS, pick_device, ray_session

WARM_UP = 8  # problems


def ours(cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    """(tokens, seconds) of the strategy "sample"."""
    interrupt, device = Interrupt(), pick_device(cfg.topology.device)
    with ray_session(cfg, device, interrupt) as session:
        engine = RolloutEngine(RolloutPool(cfg, session), cfg.model.source)
        list(run(make_strategy(cfg), problems[:WARM_UP], engine))
        before, started = engine.tokens, time.monotonic()
        list(run(make_strategy(cfg), problems, engine))
        return engine.tokens - before, time.monotonic() - started


def alone(cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
    """The same in a fresh process with vLLM's own interface, in the environment of a rollout worker."""
    on_cpu = pick_device(cfg.topology.device) == "cpu"
    os.environ |= VLLM_ENVIRONMENT | (VLLM_CPU_ENVIRONMENT if on_cpu else {}) | PASSIVE_THREADS
    os.environ["OMP_NUM_THREADS"] = str(cfg.rollout.threads)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_alone, (cfg, problems))


def _alone(cfg: EvaluateConfig, problems: list[Problem]) -> tuple[int, float]:
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
            seed=request_seed((cfg.seed, key, sample, 0)),
            detokenize=False,
        )
        for key, sample in asked
    ]
    first = WARM_UP * cfg.strategy.n
    llm.generate(prompts[:first], params[:first], use_tqdm=False)
    started = time.monotonic()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs), time.monotonic() - started


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmarks.generation", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of evaluate.py")
    args = parser.parse_intermixed_args()
    with checking_settings():
        cfg = compose_evaluation([*args.overrides, "strategy=sample"], {})
        problems = cfg.env.eval_set(cfg.num_problems)
    ratios = []
    for _ in range(args.rounds):
        rates = []
        for name, measure in (("vLLM alone", alone), ("evaluate.py", ours)):
            tokens, seconds = measure(cfg, problems)
            rates.append(tokens / seconds)
            print(f"{name}: {tokens:,} tokens in {seconds:.1f} s, {rates[-1]:,.0f} tokens/s", flush=True)
        ratios.append(rates[1] / rates[0])
    spread = f"median of {args.rounds} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
    print(f"evaluate.py / vLLM alone: {median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()

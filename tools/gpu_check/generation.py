"""The speed of generation: measured, as the planner expects it, and with vLLM alone.

A decoding step reads the weights once and the keys and values of every sequence, and vLLM's scheduler handles every
sequence in Python meanwhile. The planner's model of it is the longer of bytes / (memory bandwidth * decode_bandwidth)
and decode_seconds + sequences * sequence_seconds; two runs of different size show which one it is.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from conf.schema import Config
from grpo.types import Completion, Request, SamplingParams, in_request_order
from tools.gpu_check.stage import Measurement, Setup
from tools.planner.efficiencies import Efficiencies
from tools.planner.hardware import gpu_named
from tools.planner.memory import kv_bytes_per_token, model_bytes
from tools.planner.roofline import Workload, generation_seconds
from tools.planner.shape import config_of, shape_of
from workers.rollout import RolloutPool, VllmSampler

LONGEST = 512  # tokens of a completion


@dataclass(frozen=True)
class Generated:
    """Completions that an engine generated at the same time, in the order of their requests, and the seconds."""

    completions: list[Completion]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(len(each.token_ids) for each in self.completions)

    @property
    def steps(self) -> int:
        """Decoding steps: those of the longest completion."""
        return max(len(each.token_ids) for each in self.completions)

    @property
    def tokens_read(self) -> int:
        """Tokens whose keys and values are read, summed over all decoding steps."""
        sizes = [(len(each.prompt_ids), len(each.token_ids)) for each in self.completions]
        return sum(prompt * length + length * (length - 1) // 2 for prompt, length in sizes)


def requests_of(cfg: Config, problems: range, size: int) -> list[Request]:
    """`size` requests for each of these problems, every request with a seed of its own."""
    prompts = [cfg.env.problem(0, "train", index).prompt for index in problems]
    return [Request(prompt, 1000 * index + n) for index, prompt in zip(problems, prompts) for n in range(size)]


def sampling_of(cfg: Config) -> SamplingParams:
    return SamplingParams(1.0, min(LONGEST, cfg.model.max_completion_tokens))


def generate(pool: RolloutPool, requests: Sequence[Request], sampling: SamplingParams) -> Generated:
    completions, seconds = clocked(lambda: in_request_order(pool.generate(requests, sampling)))
    return Generated(completions, seconds)


def clocked(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a call to the workers returns, and its seconds. Unlike `Setup.timed` it does not open the GPU here."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def speed(
    setup: Setup, cfg: Config, pool: RolloutPool, requests: Sequence[Request], few: Sequence[Request]
) -> Generator[Measurement, None, list[Completion]]:
    """Generate for `requests`, for `few` of them, and for `requests` with vLLM alone. Returns the first completions."""
    work, sampling = workload(setup, cfg), sampling_of(cfg)
    list(pool.generate(requests, SamplingParams(1.0, 8)))  # compiles what is compiled late, and caches the prompts
    many = generate(pool, requests, sampling)
    rate = many.tokens / many.seconds
    yield Measurement("tokens a second", rate, "tokens/s", many.tokens / planned_seconds(work, many) if work else None)
    yield decoding_step(work, many)
    some = generate(pool, few, SamplingParams(1.0, max(8, sampling.max_tokens // 4)))
    yield decoding_step(work, some)
    if work:
        for name, value in decode_constants(work, some, many).items():
            yield Measurement(name, value, "s" if name.endswith("seconds") else "", getattr(Efficiencies(), name))
    seconds, count = pool.group.call("__ray_call__", generate_alone, requests, sampling, phase="generate")
    yield Measurement("tokens a second of vLLM's LLM.generate", count / seconds, "tokens/s")
    yield Measurement("speed of the rollout pool, of LLM.generate's", rate / (count / seconds))
    return many.completions


def decoding_step(work: Workload | None, run: Generated) -> Measurement:
    planned = 1000 * planned_seconds(work, run) / run.steps if work else None
    name = f"decoding step of {len(run.completions)} completions"
    return Measurement(name, 1000 * run.seconds / run.steps, "ms", planned)


def workload(setup: Setup, cfg: Config) -> Workload | None:
    """What the planner knows of this run, or None if it does not list the GPU."""
    if setup.gpu is None:
        return None
    return Workload(gpu_named(setup.gpu), shape_of(config_of(cfg.model)), cfg.model, cfg.algorithm)


def planned_seconds(work: Workload, run: Generated) -> float:
    """The planner's seconds for exactly these tokens: completions at their limit, with the mean context of the run."""
    prompt = max(1.0, run.tokens_read / run.tokens - run.steps / 2)
    model = replace(work.model, max_completion_tokens=run.steps, max_prompt_tokens=round(prompt))
    at_limit = replace(work.efficiencies, mean_prompt=1.0, mean_completion=1.0)
    work = replace(work, model=model, efficiencies=at_limit)
    return generation_seconds(work, run.tokens / run.steps, 0, 1, len(run.completions))


def decode_constants(work: Workload, few: Generated, many: Generated) -> dict[str, float]:
    """The planner's constants by name: decode_bandwidth (0..1) if the memory limits `many`, and otherwise those of the
    host, decode_seconds and sequence_seconds (>= 0)."""
    weights, kv = model_bytes(work.shape, work.model.dtype), kv_bytes_per_token(work.shape, work.model.dtype)
    at_full_bandwidth = (weights + many.tokens_read * kv / many.steps) / (work.gpu.bandwidth_gbs * 1e9)
    small, large = (run.seconds / run.steps for run in (few, many))
    if at_full_bandwidth / large >= Efficiencies().decode_bandwidth:
        return {"decode_bandwidth": min(1.0, at_full_bandwidth / large)}
    of_one = max(0.0, (large - small) / (len(many.completions) - len(few.completions)))
    return {"decode_seconds": max(0.0, small - len(few.completions) * of_one), "sequence_seconds": of_one}


def generate_alone(sampler: VllmSampler, requests: Sequence[Request], sampling: SamplingParams) -> tuple[float, int]:
    """In the engine's process: the same requests with `LLM.generate`. Returns seconds and generated tokens."""
    import vllm

    from workers.tokenization import encode

    prompts = [vllm.TokensPrompt(prompt_token_ids=encode(sampler.tokenizer, each.prompt)) for each in requests]
    params = [
        vllm.SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=each.seed,
            logprobs=0,
            detokenize=False,
        )
        for each in requests
    ]
    outputs, seconds = clocked(lambda: sampler.llm.generate(prompts, params, use_tqdm=False))
    return seconds, sum(len(output.outputs[0].token_ids) for output in outputs)


def engine_facts(sampler: VllmSampler) -> dict[str, str | float]:
    """In the engine's process: what vLLM chose."""
    import vllm

    config = sampler.llm.llm_engine.vllm_config
    compilation = config.compilation_config
    layers = compilation.static_forward_context.values()
    backends = {layer.get_attn_backend().get_name() for layer in layers if hasattr(layer, "get_attn_backend")}
    is_eager = config.model_config.enforce_eager
    graphs = f"{compilation.cudagraph_mode.name}, {len(compilation.cudagraph_capture_sizes or ())} sizes"
    return {
        "vLLM": vllm.__version__,
        "model runner": "V2" if config.use_v2_model_runner else "V1",
        "attention": ", ".join(sorted(backends)),
        "CUDA graphs": "none, eager" if is_eager else graphs,
        "seconds of torch.compile": compilation.compilation_time,
        "tokens of the KV cache": config.cache_config.kv_cache_size_tokens or 0,
    }

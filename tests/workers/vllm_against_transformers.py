"""Compare vLLM with transformers. A script, because vLLM needs a process with its own environment variables."""

import dataclasses

from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from envs.countdown.corpus import tiny_countdown
from grpo.types import Request, SamplingParams, in_request_order
from workers.rollout import VllmSampler
from workers.transformers_sampler import TransformersSampler

DETERMINISTIC = [
    SamplingParams(0.0, 40),
    SamplingParams(1.0, 24, top_k=1),
    SamplingParams(1.0, 24, top_p=1e-6),
    SamplingParams(0.0, 192, stop=("</think>",)),
]


def main() -> None:
    model = ModelConfig(
        "tiny", "envs/countdown/models/tiny", prompt_style="tiny", max_prompt_tokens=32, max_completion_tokens=192
    )
    vllm = VllmSampler(model, RolloutConfig(kv_cache_gb=0.2), TopologyConfig())
    plain = TransformersSampler(model, RolloutConfig())
    env = tiny_countdown()
    requests = [Request(env.problem(0, "train", index).prompt, index) for index in range(6)]
    for sampling in DETERMINISTIC:
        pairs = list(
            zip(*(in_request_order(sampler.generate(requests, sampling)) for sampler in (vllm, plain)), strict=True)
        )
        for ours, theirs in pairs:
            assert (ours.token_ids, ours.finish_reason) == (theirs.token_ids, theirs.finish_reason), sampling
            gaps = [abs(a - b) for a, b in zip(ours.behavior_logprobs, theirs.behavior_logprobs, strict=True)]
            assert max(gaps) < 1e-4, sampling
    whole = in_request_order(vllm.generate(requests, SamplingParams(0.0, 24)))
    rest = [
        dataclasses.replace(request, prefix=done.token_ids[:7], sampling=SamplingParams(0.0, 17))
        for request, done in zip(requests, whole, strict=True)
    ]
    ends = in_request_order(vllm.generate(rest, SamplingParams(1.0, 5)))
    assert [end.token_ids for end in ends] == [done.token_ids[7:] for done in whole]
    print("vLLM agrees with transformers")


if __name__ == "__main__":
    main()

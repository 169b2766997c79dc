import dataclasses
import json
import shutil

import pytest
import torch

from conf.algorithms import AlgorithmConfig, SamplingConfig
from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from envs.countdown.corpus import tiny_countdown
from grpo.grpo import make_batch
from grpo.types import Request, SamplingParams, in_request_order, request_seed
from tests.builders import grouped
from workers.actor import Reference
from workers.transformers_sampler import TransformersSampler, _cut

TINY = ModelConfig(name="tiny", path="envs/countdown/models/tiny", prompt_style="tiny", max_prompt_tokens=16)


@pytest.fixture(scope="module")
def sampler():
    return TransformersSampler(TINY, RolloutConfig(backend="transformers", max_num_seqs=5))


def requests(count):
    env = tiny_countdown()
    return [Request(env.problem(0, "train", i).prompt, request_seed("test", i)) for i in range(count)]


def test_a_request_gives_the_same_completion_alone_and_in_a_batch(sampler):
    sampling = SamplingParams(1.0, 128)
    ten = requests(15)[5:]
    together = in_request_order(sampler.generate(ten, sampling))
    alone = [in_request_order(sampler.generate([request], sampling))[0] for request in ten]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    lengths = sorted(len(c.token_ids) for c in together[:5])
    assert lengths[2] < lengths[4]  # the first batch went on without those that had ended


def test_behavior_logprobs_equal_those_of_the_policy(sampler):
    completions = in_request_order(sampler.generate(requests(6), SamplingParams(0.8, 64)))
    env = tiny_countdown()
    groups = [grouped(env.problem(0, "train", 0), completions)]
    batch = make_batch(groups, torch.zeros(sum(len(group.rollouts) for group in groups)))
    algorithm = AlgorithmConfig(sampling=SamplingConfig(temperature=0.8))
    found = Reference(TINY, algorithm, TopologyConfig()).logprobs(batch)
    assert (found - batch.behavior_logprobs).abs().max() < 1e-4


def test_a_completion_ends_with_the_end_token_or_at_the_limit(sampler):
    end = sampler.tokenizer.eos_token_id
    for completion in in_request_order(sampler.generate(requests(8), SamplingParams(1.0, 24))):
        if completion.truncated:
            assert len(completion.token_ids) == 24 and completion.token_ids[-1] != end
        else:
            assert completion.token_ids[-1] == end and completion.text.endswith("</answer>")


def test_every_end_token_of_the_generation_config_ends_a_completion(sampler, tmp_path):
    greedy = SamplingParams(0.0, 24)
    (whole,) = in_request_order(sampler.generate(requests(1), greedy))
    end = sampler.tokenizer.eos_token_id
    other = next(token for token in whole.token_ids[4:] if token != end)
    shutil.copytree(TINY.path, tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [end + 1, other]}))
    stopping = TransformersSampler(dataclasses.replace(TINY, path=str(tmp_path / "model")), RolloutConfig())
    (found,) = in_request_order(stopping.generate(requests(1), greedy))
    assert found.token_ids == whole.token_ids[: whole.token_ids.index(other) + 1]
    assert found.finish_reason == "stop" and end in stopping.end_ids


def test_greedy_does_not_depend_on_the_seed(sampler):
    one = in_request_order(sampler.generate(requests(3), SamplingParams(0.0, 40)))
    other = in_request_order(
        sampler.generate([dataclasses.replace(r, seed=99) for r in requests(3)], SamplingParams(0.0, 40))
    )
    assert [c.token_ids for c in one] == [c.token_ids for c in other]


def test_seeds_differ_by_their_parts_and_fit_in_63_bits():
    seeds = {request_seed(0, "train", step, index) for step in range(20) for index in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)


def test_sampling_from_a_single_token_is_greedy(sampler):
    greedy = in_request_order(sampler.generate(requests(4), SamplingParams(0.0, 16)))
    for cut in (SamplingParams(1.0, 16, top_k=1), SamplingParams(1.0, 16, top_p=1e-6)):
        found = in_request_order(sampler.generate(requests(4), cut))
        assert [c.token_ids for c in found] == [c.token_ids for c in greedy]
        assert all(abs(value) < 1e-6 for c in found for value in c.behavior_logprobs)


def test_top_k_and_top_p_exclude_only_the_unlikely_tokens():
    # probabilities 0.5, 0.3, 0.15, 0.05: both settings keep the first two tokens
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for cut in (SamplingParams(1.0, 1, top_k=2), SamplingParams(1.0, 1, top_p=0.7)):
        kept = _cut(logits, cut).softmax(-1)
        assert torch.allclose(kept, torch.tensor([[0.625, 0.375, 0.0, 0.0]]))


def test_a_completion_continues_from_a_prefix(sampler):
    (whole,) = in_request_order(sampler.generate(requests(1), SamplingParams(0.0, 24)))
    (request,) = requests(1)
    rest = dataclasses.replace(request, prefix=whole.token_ids[:7])
    (found,) = in_request_order(sampler.generate([rest], SamplingParams(0.0, 17)))
    assert found.token_ids == whole.token_ids[7:24] and found.prompt_ids[-7:] == whole.token_ids[:7]


def test_a_stop_string_ends_a_completion_and_is_part_of_it(sampler):
    found = in_request_order(sampler.generate(requests(4), SamplingParams(1.0, 192, stop=("</think>",))))
    stopped = [completion for completion in found if completion.finish_reason == "stop_string"]
    assert len(stopped) >= 3 and all(completion.text.endswith("</think>") for completion in stopped)


def test_each_request_can_have_its_own_sampling(sampler):
    first, second = requests(2)
    mixed = [dataclasses.replace(first, sampling=SamplingParams(0.0, 5)), second]
    one, other = in_request_order(sampler.generate(mixed, SamplingParams(1.0, 24)))
    assert one.token_ids == in_request_order(sampler.generate([first], SamplingParams(0.0, 5)))[0].token_ids
    assert other.token_ids == in_request_order(sampler.generate([second], SamplingParams(1.0, 24)))[0].token_ids

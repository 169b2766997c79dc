"""Small groups, batches and models for the tests."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from conf.workers import ModelConfig
from grpo.grpo import Batch, make_batch
from grpo.types import Completion, Group, Problem, Rollout, Score
from workers.examples import Example
from workers.models import load_tokenizer, model_settings

PROBLEM = Problem(
    "countdown", "4 8 16 -> 12", "make 12 from 16 8 4", "(16 - 8) + 4", {"numbers": [16, 8, 4], "target": 12}
)


def completion(token_ids: Sequence[int] = (5, 6), text: str = "", prompt_ids: Sequence[int] = (1, 2, 3)) -> Completion:
    return Completion(tuple(prompt_ids), tuple(token_ids), text, (-1.0,) * len(token_ids), "stop", 0)


def group_of(rewards: Sequence[float], lengths: Sequence[int] | None = None) -> Group:
    """A group with these rewards; `lengths` are the completions' tokens, 2 each by default."""
    rollouts = [
        Rollout(
            completion([7 + (i + j) % 9 for j in range(length)]),
            Score(reward, reward == 1.0, {"correct": float(reward == 1.0)}, ""),
        )
        for i, (reward, length) in enumerate(zip(rewards, lengths or [2] * len(rewards), strict=True))
    ]
    return Group(PROBLEM, tuple(rollouts))


def grouped(problem: Problem, completions: Sequence[Completion]) -> Group:
    """A group of these completions, all of them correct."""
    return Group(problem, tuple(Rollout(one, Score(1.0, True, {"correct": 1.0}, "")) for one in completions))


def small_model(seed: int = 0, vocabulary: int = 32) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=48,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return Qwen2ForCausalLM(config).eval()


def saved_small_model(folder: Path, **settings: Any) -> ModelConfig:
    """The small model, saved in `folder`."""
    small_model().save_pretrained(folder)
    return ModelConfig(name="small", path=str(folder), **settings)


def tokenizer_with_bos() -> PreTrainedTokenizerBase:
    """The tokenizer of the tiny model, which puts its token 0 before every text, as that of Llama 3 puts its BOS."""
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    bos = tokenizer.bos_token = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, 0)])
    return tokenizer


def packed_model(seed: int = 0) -> Qwen2ForCausalLM:
    """The small model as the actor loads it, for rows of distinct tokens."""
    model = small_model(seed)
    model.set_attn_implementation(model_settings("float32", packed=True)["attn_implementation"])
    return model


def plain_logprobs(model: Qwen2ForCausalLM, batch: Batch, temperature: float) -> Tensor:
    """What `completion_logprobs` computes, row by row, from full logits: position t - 1 predicts the token at t."""
    used = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    rows = []
    for row in range(len(batch)):
        prompt, length = int(batch.prompt_lengths[row]), int(batch.lengths[row])
        ids = batch.input_ids[row, :length]
        log_softmax = (model(input_ids=ids[None]).logits[0] / temperature).log_softmax(-1)
        rows.append(torch.stack([log_softmax[t - 1, ids[t]] for t in range(prompt, length)]))
    model.set_attn_implementation(used)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def random_batch(lengths: Sequence[int], seed: int = 0) -> Batch:
    """Completions of these lengths with a random advantage each, and random log-probabilities."""
    generator = torch.Generator().manual_seed(seed)
    batch = make_batch([group_of([0.0] * len(lengths), lengths)], torch.zeros(len(lengths)))
    advantages = torch.randn(len(lengths), 1, generator=generator) * batch.mask
    noise = torch.randn(batch.mask.shape, generator=generator) * batch.mask
    fields = {"advantages": advantages, "old_logprobs": -3 + 0.3 * noise, "ref_logprobs": -3 - 0.2 * noise}
    return Batch(**vars(batch) | fields)


def example(prompt, tokens, weight=1.0, loss=None, origin="rows.jsonl:1", problem=None) -> Example:
    loss = loss or [True] * len(tokens)
    group = hashlib.sha256(repr(tuple(prompt if len(prompt) > 1 else tokens)).encode()).hexdigest()
    return Example(tuple(prompt), tuple(tokens), tuple(loss), weight, origin, problem, group)

"""The untrained tokenizer and model of a tiny base."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import AddedToken, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from workers.models import CPU_HEAD_SIZES

END = "<|endoftext|>"


def make_tokenizer(words: Sequence[str]) -> Qwen2Tokenizer:
    """A tokenizer with one token for each of `words`, spaces included, so that decoding restores the exact text.

    The words are added tokens of a Qwen2Tokenizer because transformers loads this class for every Qwen2 model,
    regardless of the tokenizer files.
    """
    tokenizer = Qwen2Tokenizer(
        vocab={END: 0}, merges=[], unk_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    return tokenizer


def make_model(
    tokenizer: Qwen2Tokenizer,
    seed: int,
    numbers: Mapping[str, int],
    periods: Sequence[float],
    hidden_size: int,
    intermediate_size: int,
) -> Qwen2ForCausalLM:
    """An untrained Qwen2 with 4 layers: 0.6M parameters for the sizes 128 and 256, 0.16M for 64 and 128.

    The embeddings of `numbers` (token -> value) are initialized with waves of several periods, so that close
    numbers have similar embeddings from the start and sums are learned in minutes instead of hours.
    """
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=4,
        num_attention_heads=hidden_size // min(CPU_HEAD_SIZES),
        num_key_value_heads=1,
        intermediate_size=intermediate_size,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    waves = number_waves(list(numbers.values()), periods)
    ids = tokenizer.convert_tokens_to_ids(list(numbers))
    scale = config.initializer_range * 2
    with torch.no_grad():
        model.model.embed_tokens.weight[ids, : waves.shape[1]] = scale * waves
    return model


def number_waves(values: Sequence[int], periods: Sequence[float]) -> Tensor:
    """Sines, then cosines, of `values` at each period, [N, 2 * len(periods)]."""
    numbers = torch.tensor(values, dtype=torch.float32)
    angles = 2 * torch.pi * numbers[:, None] / torch.tensor(periods)
    return torch.cat([angles.sin(), angles.cos()], dim=1)

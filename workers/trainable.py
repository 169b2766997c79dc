"""Which models the actor can train: those whose log-probabilities it computes as the model defines them.

Otherwise vLLM would sample from another distribution than the one that is trained.
"""

from typing import Any

import torch
from torch import Tensor

from conf.workers import ModelConfig
from grpo.grpo import Batch, completion_logprobs
from workers.models import read_config

PROMPT, LENGTH, FIRST_TOKEN = 4, 8, 5  # of the rows of `check_logprobs`; their tokens are different ones from the first
# Largest difference in nats that may be due to rounding, with a margin: in float32 and in lower precision.
FLOAT32_TOLERANCE, LOW_PRECISION_TOLERANCE = 1e-3, 0.5


def check_trainable(model: ModelConfig, max_tokens: int) -> None:
    """Check that nothing in the model's config.json is known to prevent its training with sequences of `max_tokens`
    tokens: attention must be causal and full, and logits the product of the last hidden state and the output layer
    (grpo/packing.py, grpo/logprobs.py). `check_logprobs` finds other differences once the model is loaded.

    Raises:
        ValueError: something in it does.
    """
    config = read_config(model)
    layers = set(config.get("layer_types") or ["full_attention"])
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    slides = "sliding_attention" in layers or not config.get("layer_types")
    odd = [f"layer_types={name}" for name in sorted(layers - {"full_attention", "sliding_attention"})]
    odd += [f"sliding_window={window}"] if window is not None and slides and window < max_tokens else []
    scales = ("final_logit_softcapping", "attn_logit_softcapping", "logits_scaling", "logit_scale")
    odd += [f"{key}={config[key]}" for key in scales if config.get(key) not in (None, 1)]
    if odd:
        raise ValueError(
            f"model.path={model.source} cannot be trained: its config.json has {', '.join(odd)}, but the actor "
            "supports only full causal attention and plain logits; choose another model"
        )


@torch.no_grad()
def check_logprobs(model: Any, source: str) -> None:
    """Check that the actor computes the log-probabilities of this model, loaded with `packed=True`, from `source`.

    Two short sequences, packed into a row, must have the log-probabilities that transformers computes for each alone,
    with its own attention and logits. They do not if one sequence sees the other, through the state of a recurrent
    layer or an attention of the model's own, or if the actor leaves out a part of the model. The check costs two short
    forward passes and draws no random numbers.

    Raises:
        ValueError: they do not.
    """
    refused = f"model.path={source} cannot be trained: packed into one row (grpo/packing.py), two sequences"
    advice = "choose a model of another architecture, such as Llama or Qwen3"
    name = type(model).__name__
    try:
        packed, alone = _packed_and_alone(model)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"{refused} cannot be computed with {name} ({reason}); {advice}") from error
    gap = float((packed - alone).abs().max())
    if not gap <= (FLOAT32_TOLERANCE if model.dtype == torch.float32 else LOW_PRECISION_TOLERANCE):  # or it is NaN
        raise ValueError(
            f"{refused} must have the log-probabilities of each alone, but with {name} they differ by {gap:.2g} nats; "
            f"{advice}"
        )


def _packed_and_alone(model: Any) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the completion tokens of two sequences, [2, T]: as the actor computes them, and as
    transformers does."""
    ids = FIRST_TOKEN + torch.arange(2 * LENGTH, device=model.device).view(2, LENGTH)
    ids %= model.get_input_embeddings().num_embeddings  # a tiny vocabulary has fewer tokens
    mask = torch.ones_like(ids[:, PROMPT:], dtype=torch.bool)
    zeros = torch.zeros(mask.shape)
    lengths = torch.full((2,), PROMPT, device=model.device)
    batch = Batch(ids, lengths, mask, mask, zeros, torch.zeros(2), torch.arange(2), zeros)
    packed, _ = completion_logprobs(model, batch, temperature=1.0)
    model.set_attn_implementation("eager")
    logits = model(input_ids=ids, use_cache=False).logits[:, PROMPT - 1 : -1].float()
    model.set_attn_implementation("packed")
    return packed, logits.log_softmax(-1).gather(-1, ids[:, PROMPT:, None]).squeeze(-1)

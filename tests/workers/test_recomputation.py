import dataclasses

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from tests.builders import random_batch
from workers.actor import Actor
from workers.recomputation import checkpoint_layers

SIZES = {"vocab_size": 32, "bos_token_id": 1, "eos_token_id": 2}
# Their dropout of 0.1 is in modules (GPT-2) and in functions (OPT).
WITH_DROPOUT = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **SIZES)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, ffn_dim=48, word_embed_proj_dim=32, **SIZES
        )
    ),
}


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_log_probabilities_are_those_without_checkpointing_although_the_model_has_dropout(tmp_path, name):
    WITH_DROPOUT[name]().save_pretrained(tmp_path)
    batch, model = random_batch([3, 5, 2]), ModelConfig(name=name, path=str(tmp_path))
    plain, checkpointed = (
        Actor(dataclasses.replace(model, gradient_checkpointing=on), AlgorithmConfig(), TopologyConfig(), num_steps=1)
        for on in (False, True)
    )
    assert torch.equal(checkpointed.logprobs(batch), plain.logprobs(batch))
    assert checkpointed.update(batch).metrics == plain.update(batch).metrics


def test_a_model_that_cannot_be_checkpointed_is_rejected():
    with pytest.raises(ValueError, match="model.gradient_checkpointing=true is not supported for Linear; set it to"):
        checkpoint_layers(torch.nn.Linear(2, 2))

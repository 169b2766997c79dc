"""Loading models and tokenizers, and the optimizer over them."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, get_scheduler

from conf.schema import ModelConfig, OptimizerConfig
from grpo.types import Chat


def check_model(model: ModelConfig) -> None:
    """Fail early, in one sentence, when the model can't be had.

    Raises:
        ValueError: no such folder, or the Hub has no such name or can't be reached.
    """
    try:
        AutoConfig.from_pretrained(model.source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model.path={model.path}: neither a folder with a config.json nor a model that the Hub could give now "
            f"({str(error).splitlines()[0]}); give model.path=FOLDER"
        ) from error


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(source)


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str | Chat) -> list[int]:
    """Token ids of a prompt. A chat goes through the tokenizer's template, its last turn left open.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if isinstance(prompt, str):
        return tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if tokenizer.chat_template is None:
        raise ValueError("model.prompt_style=chat: this model's tokenizer has no chat template; choose base")
    turns = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": prompt.user},
        {"role": "assistant", "content": prompt.assistant},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def load_model(source: str | Path, dtype: str, attention: str = "sdpa") -> Any:
    """A causal language model in evaluation mode; none of the models here has dropout to switch."""
    return AutoModelForCausalLM.from_pretrained(
        source, dtype=getattr(torch, dtype), attn_implementation=attention
    ).eval()


def make_optimizer(model: torch.nn.Module, cfg: OptimizerConfig) -> torch.optim.AdamW:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), weight_decay=cfg.weight_decay)


def make_schedule(optimizer: torch.optim.Optimizer, cfg: OptimizerConfig, num_updates: int) -> Any:
    return get_scheduler(cfg.schedule, optimizer, cfg.warmup_updates, num_updates)

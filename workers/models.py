"""Loading models and tokenizers, and the optimizer over them.

transformers is imported where a model is loaded: it takes 2 s, and the driver of a run loads none.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conf.algorithms import OptimizerConfig
from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from envs.env import Env
from envs.fitting import FittingProblems
from grpo.packing import packed_attention
from grpo.types import Chat
from workers.download import SETTINGS, WEIGHTS, download
from workers.tokenization import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Left to itself, transformers asks on the terminal whether to execute the Python code of a model.
NO_CODE = {"trust_remote_code": False}
# Sizes of an attention head for which vLLM has CPU kernels (CPUAttentionBackend.get_supported_head_sizes).
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_model(model: ModelConfig, rollout: RolloutConfig, topology: TopologyConfig) -> None:
    """Check that the model can be found and sampled from, before anything starts.

    Raises:
        ValueError: the folder does not exist, the Hub does not have the model or cannot be reached, the model needs
            Python code of its own, its context is too short, vLLM cannot generate with it on a CPU, or a GPU is
            requested and there is none.
    """
    config = read_config(model)
    check_context(model, config)
    if rollout.backend == "vllm" and pick_device(topology.device) == "cpu":
        check_head_size(model, config)


def pick_device(wanted: str) -> str:
    """Resolve "auto", "cpu" or "cuda" to "cpu" or "cuda".

    Raises:
        ValueError: a GPU is requested and PyTorch finds none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("topology.device=cuda, but PyTorch finds no GPU; make doctor tells why, or choose cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def read_config(model: ModelConfig) -> Mapping[str, Any]:
    """The content of the model's config.json; in a model of text and images, with that of its language model
    (`text_config`). Raises what `check_model` raises if the file is missing or damaged."""
    config = Path(model.source) / "config.json"
    if not config.is_file():
        return _of_text(load_config(model.source).to_dict())
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config} is not valid JSON ({error}); set model.path to a model folder") from error
    if "model_type" not in content:
        raise ValueError(f"{config} names no model_type; set model.path to a model folder")
    if "auto_map" in content and not is_known(content["model_type"]):
        raise ValueError(
            f"model.path={model.source} has Python code of its own (auto_map in config.json), which is never executed; "
            "choose a model that transformers supports by itself"
        )
    return _of_text(content)


def _of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**config, **(config.get("text_config") or {})}


def is_known(model_type: str) -> bool:
    """Whether transformers has the code of this type of model."""
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def check_context(model: ModelConfig, config: Mapping[str, Any]) -> None:
    """Check that prompts and completions fit the context of a model with this config.json.

    Raises:
        ValueError: they are longer.
    """
    context, needed = context_length(config), model.max_prompt_tokens + model.max_completion_tokens
    if context is not None and needed > context:
        raise ValueError(
            f"model.max_prompt_tokens={model.max_prompt_tokens} + model.max_completion_tokens="
            f"{model.max_completion_tokens} must be at most {context}, the context of model.path={model.source}; lower "
            "one of them"
        )


def context_length(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a model with this config.json has positions for; None if it does not say so, or if the
    context is scaled (`rope_scaling`)."""
    scaled = any((config.get(key) or {}).get("factor") for key in ("rope_scaling", "rope_parameters"))
    return None if scaled else config.get("max_position_embeddings")


def check_head_size(model: ModelConfig, config: Mapping[str, Any]) -> None:
    """Check that vLLM's CPU kernels support the attention heads of a model with this config.json.

    Raises:
        ValueError: they do not.
    """
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    size = config.get("head_dim") or (width // heads if heads and width else None)
    if size is not None and size not in CPU_HEAD_SIZES:
        raise ValueError(
            f"model.path={model.source} has attention heads of size {size}, but on a CPU vLLM supports only "
            f"{', '.join(map(str, CPU_HEAD_SIZES))}; choose rollout.backend=transformers or another model"
        )


def load_config(source: str) -> Any:
    """The transformers config of a folder or a Hub name, whose tokenizer is downloaded too; raises what `check_model`
    raises."""
    from transformers import AutoConfig

    folder = download(source, SETTINGS)
    try:
        return AutoConfig.from_pretrained(folder, **NO_CODE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model.path={source} has no config.json that transformers loads ({str(error).splitlines()[0]}); set "
            "model.path to a model folder"
        ) from error


def check_optimizer(optimizer: OptimizerConfig) -> None:
    """Check that the optimizer's library is installed.

    Raises:
        ValueError: it is missing.
    """
    if optimizer.name == "adamw_8bit" and find_spec("bitsandbytes") is None:
        raise ValueError(
            "optimizer.name=adamw_8bit requires bitsandbytes, which is not installed; "
            "run .venv/bin/uv pip install bitsandbytes, or choose adamw"
        )


def load_tokenizer(source: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source, **NO_CODE)


def fitting_problems(
    env: Env, model: ModelConfig, written: Callable[[str | Chat], str | Chat] = lambda prompt: prompt
) -> FittingProblems:
    """The problems of a task whose prompts fit the model. Its methods also raise what `render` and `written` raise.

    written  the prompt that is sampled from, given that of a problem
    """
    tokenizer = load_tokenizer(model.source)
    return FittingProblems(env, model.max_prompt_tokens, lambda prompt: len(encode(tokenizer, written(prompt))))


def load_model(source: str | Path, dtype: str, packed: bool = False) -> Any:
    """A causal language model in evaluation mode. packed: its inputs are rows of grpo/packing.py."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(source, **NO_CODE, **model_settings(dtype, packed)).eval()


def empty_model(config: Any, dtype: str, packed: bool = False) -> Any:
    """The model that `load_model` would return, on PyTorch's meta device: shapes without weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, **NO_CODE, **model_settings(dtype, packed)).eval()


def model_settings(dtype: str, packed: bool) -> dict[str, Any]:
    from transformers import AttentionInterface

    AttentionInterface.register("packed", packed_attention)
    return {"dtype": getattr(torch, dtype), "attn_implementation": "packed" if packed else "sdpa"}


def stored_weights(source: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights in the files of a model, one at a time, without loading the model.

    Raises:
        ValueError: the model has no .safetensors files, or it cannot be downloaded.
    """
    from safetensors import safe_open

    files = sorted(download(source, WEIGHTS).glob("*.safetensors"))
    if not files:
        raise ValueError(f"model.path={source} has no .safetensors files; save the model in this format")
    for path in files:
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - safe_open is not a mapping
                yield name, weights.get_tensor(name)


def replace_weights(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace the parameters of a model, sharded or not, by full `tensors`; a tied output layer may be missing."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    options = StateDictOptions(full_state_dict=True, strict=False)
    missing, unexpected = set_model_state_dict(model, dict(tensors), options=options)
    assert not unexpected and set(missing) <= set(model.all_tied_weights_keys), (missing, unexpected)


def make_optimizer(model: torch.nn.Module, cfg: OptimizerConfig) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    settings: dict[str, Any] = {"lr": cfg.lr, "betas": (cfg.beta1, cfg.beta2), "weight_decay": cfg.weight_decay}
    if cfg.name == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    from bitsandbytes.optim import AdamW8bit  # takes 3 s to import

    return AdamW8bit(parameters, **settings)


def move(model: torch.nn.Module, optimizer: torch.optim.Optimizer | None, device: torch.device) -> None:
    """Move the weights, sharded or not, and the optimizer's state. Its step counts stay on the CPU."""
    model._apply(lambda tensor: moved(tensor, device))  # as `model.to` does
    for state in optimizer.state.values() if optimizer is not None else ():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim() > 0:
                state[name] = moved(value, device)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on a GPU, or in pinned host memory, which a GPU reaches without an intermediate copy. PyTorch keeps freed
    pinned memory for the next copy."""
    from torch.distributed.tensor import DTensor  # takes a second to import

    if device.type == "cpu" and tensor.is_cuda and not isinstance(tensor, DTensor):
        pinned = torch.empty_like(tensor, device=device, pin_memory=True)
        return pinned.copy_(tensor, non_blocking=True)
    return tensor.to(device, non_blocking=device.type == "cuda")


def make_schedule(optimizer: torch.optim.Optimizer, cfg: OptimizerConfig, num_updates: int) -> Any:
    from transformers import get_scheduler  # imports peft, which takes a second

    return get_scheduler(cfg.schedule, optimizer, cfg.warmup_steps, num_updates)


def freeze(model: torch.nn.Module, prefixes: list[str]) -> None:
    """Exclude the parameters whose name contains one of `prefixes` from training.

    Raises:
        ValueError: a prefix matches no parameter.
    """
    for prefix in prefixes:
        matching = [parameter for name, parameter in model.named_parameters() if prefix in name]
        if not matching:
            raise ValueError(f"model.frozen={prefix} matches no parameter name of the model; use a part of such a name")
        for parameter in matching:
            parameter.requires_grad_(False)

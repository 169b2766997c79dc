"""Supervised fine-tuning on prompts and completions.

`make tiny-base` builds the tiny base model with it. It reads any JSONL file with the fields `prompt` and `completion`:

    python train_sft.py model_path=envs/countdown/models/tiny data=rows.jsonl output=outputs/sft optimizer.lr=1e-4

The loss is the mean cross-entropy over the completion tokens of a batch; prompt tokens are context only. A batch
contains rows of similar length, which keeps padding below a few percent.
"""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from conf.launch import checking_settings, launch
from conf.schema import SftConfig
from workers.models import load_model, load_tokenizer, make_optimizer, make_schedule

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCHES_PER_CHUNK = 50  # rows of this many batches are sorted by length together


@dataclass(frozen=True)
class Row:
    """A tokenized example.

    ids            token ids of the prompt, the completion and the end token
    prompt_length  number of prompt tokens, which carry no loss
    """

    ids: list[int]
    prompt_length: int


@hydra.main(version_base=None, config_path="conf", config_name="sft")
def main(raw: DictConfig) -> None:
    """Check the settings, then fine-tune."""
    with checking_settings():
        cfg = OmegaConf.to_object(raw)
        assert isinstance(cfg, SftConfig)
    train(cfg)


def train(cfg: SftConfig) -> float:
    """Fine-tune a model and save it with its tokenizer in `cfg.output`.

    Returns: the loss of the last batch.

    Raises:
        ValueError: a row of the data is malformed or too long.
    """
    torch.manual_seed(cfg.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(cfg.model_path)
    model = load_model(cfg.model_path, "float32").to(device)
    rows = read_rows(Path(cfg.data), tokenizer, cfg.max_length)
    num_steps = max(1, math.ceil(cfg.epochs * len(rows) / cfg.batch_size))
    optimizer = make_optimizer(model, cfg.optimizer)
    schedule = make_schedule(optimizer, cfg.optimizer, num_steps)
    started, tokens, loss = time.monotonic(), 0, math.nan
    for step, batch in zip(range(1, num_steps + 1), batches(rows, cfg.batch_size, cfg.seed), strict=False):
        output = completion_loss(model, batch, device)
        output.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.optimizer.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += sum(len(row.ids) for row in batch)
        if step % cfg.log_every == 0 or step == num_steps:
            loss = output.item()
            rate = tokens / (time.monotonic() - started)
            print(f"step {step}/{num_steps}  loss {loss:.4f}  {tokens:,} tokens  {rate:,.0f} tokens/s", flush=True)
    model.save_pretrained(cfg.output)
    tokenizer.save_pretrained(cfg.output)
    return loss


def read_rows(path: Path, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> list[Row]:
    """Read and tokenize a JSONL file.

    Raises:
        ValueError: a row lacks a field, or has more than `max_length` tokens; the message gives its line.
    """
    texts: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            texts.append((row["prompt"], row["completion"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}:{number} must be a JSON object with the fields prompt and completion ({error!r})"
            ) from error
    prompts = tokenizer([prompt for prompt, _ in texts], add_special_tokens=False)["input_ids"]
    completions = tokenizer([completion for _, completion in texts], add_special_tokens=False)["input_ids"]
    rows = [
        Row([*prompt, *completion, tokenizer.eos_token_id], len(prompt))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    for number, row in enumerate(rows, 1):
        if len(row.ids) > max_length:
            raise ValueError(
                f"{path}:{number} has {len(row.ids)} tokens, more than max_length={max_length}; shorten the row or "
                "raise max_length"
            )
    return rows


def batches(rows: list[Row], batch_size: int, seed: int) -> Iterator[list[Row]]:
    """Yield batches without end, in a new order each epoch, each with rows of similar length."""
    rng = random.Random(seed)
    while True:
        order = rng.sample(rows, len(rows))
        chunk = BATCHES_PER_CHUNK * batch_size
        for start in range(0, len(order), chunk):
            by_length = sorted(order[start : start + chunk], key=lambda row: len(row.ids))
            in_chunk = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
            yield from rng.sample(in_chunk, len(in_chunk))


def completion_loss(model: "PreTrainedModel", batch: list[Row], device: str) -> torch.Tensor:
    """Mean cross-entropy over the completion tokens of a batch, in nats: a scalar with gradient.

    Padding is on the right, where causal attention does not see it, so no attention mask is needed.
    """
    longest = max(len(row.ids) for row in batch)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in batch], device=device)
    position = torch.arange(longest - 1, device=device)
    first = torch.tensor([row.prompt_length for row in batch], device=device)[:, None] - 1
    last = torch.tensor([len(row.ids) for row in batch], device=device)[:, None] - 1
    predicts_completion = (position >= first) & (position < last)
    hidden = model.get_decoder()(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[predicts_completion])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][predicts_completion])


if __name__ == "__main__":
    launch(main, SftConfig)

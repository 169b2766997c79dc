"""Examples for supervised fine-tuning: how they are read and tokenized, and which of them make up a step.

An example is read as a language model sees it when it generates: the prompt is tokenized by itself, and each turn of
the assistant by itself. A step's examples depend on the seed and the step alone.
"""

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conf.sft import DataConfig
from envs.records import file_records, hub_records
from grpo.grpo import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = list[Mapping[str, str]]
NAMED = 5  # examples listed in a message


@dataclass(frozen=True)
class Example:
    """A tokenized example: a prompt and the completion that follows it.

    carries_loss  for each token of the completion
    weight        of its tokens in the loss, relative to those of other examples; >= 0
    origin        the file and line, or the data set and row, that it comes from
    problem       (task, key) of the problem it solves, if the data states it
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    carries_loss: tuple[bool, ...]
    weight: float
    origin: str
    problem: tuple[str, str] | None

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass(frozen=True)
class Examples:
    """What a run trains on, what it measures its loss on, and the examples that are too long for either."""

    training: list[Example]
    held_out: list[Example]
    too_long: list[Example]

    @property
    def sha256(self) -> str:
        """The identity of all examples, in order."""
        found = hashlib.sha256()
        for example in (*self.training, *self.held_out):
            found.update(repr((example.prompt_ids, example.token_ids, example.carries_loss, example.weight)).encode())
        return found.hexdigest()


def load_examples(cfg: DataConfig, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> Examples:
    """Read all sources of `cfg`.

    Raises:
        ValueError: a source cannot be read, a row is malformed (the message gives its line), or no example fits.
    """
    sources = [list(_read(path, cfg, tokenizer)) for path in cfg.paths]
    too_long = [example for source in sources for example in source if example.num_tokens > max_tokens]
    sources = [[example for example in source if example.num_tokens <= max_tokens] for source in sources]
    if not all(sources):
        path = next(path for path, source in zip(cfg.paths, sources, strict=True) if not source)
        raise ValueError(f"data.paths: {path} has no example of at most {max_tokens} tokens; raise data.max_tokens")
    if cfg.ratio is not None:
        unit = min(len(source) / parts for source, parts in zip(sources, cfg.ratio, strict=True))
        sources = [
            random.Random(path).sample(source, max(1, int(unit * parts)))
            for path, source, parts in zip(cfg.paths, sources, cfg.ratio, strict=True)
        ]
    return Examples(*hold_out([example for source in sources for example in source], cfg.held_out_rows), too_long)


def hold_out(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Split into (training, held out). About `count` examples, at most a tenth, are held out; those with the same
    prompt are in the same part. The split does not depend on the order of the examples."""
    count = min(count, len(examples) // 10)
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        name = example.prompt_ids if len(example.prompt_ids) > 1 else example.token_ids  # plain text has no prompt
        by_prompt.setdefault(hashlib.sha256(repr(name).encode()).hexdigest(), []).append(example)
    held_out: list[Example] = []
    for digest in sorted(by_prompt):
        if len(held_out) + len(by_prompt[digest]) <= count:
            held_out += by_prompt[digest]
    kept = set(map(id, held_out))
    return [example for example in examples if id(example) not in kept], held_out


def check_held_out(examples: Examples, problems: set[tuple[str, str]]) -> None:
    """Check that no example solves one of the held-out problems, given as (task, key).

    Raises:
        ValueError: an example does.
    """
    for example in (*examples.training, *examples.held_out):
        if example.problem in problems:
            task, key = example.problem
            raise ValueError(
                f"{example.origin}: the problem {key} of {task} is in the evaluation set, so accuracy on it would be "
                "meaningless; remove the example"
            )


def describe(too_long: Sequence[Example]) -> str:
    """Where the first few of these examples come from."""
    named = ", ".join(f"{example.origin} ({example.num_tokens} tokens)" for example in too_long[:NAMED])
    return named + (", ..." if len(too_long) > NAMED else "")


class StepPlan:
    """The examples of each step: in every epoch all of them, in a new order, in batches of up to `batch_tokens` tokens.
    An example with more tokens is a batch of its own."""

    def __init__(self, examples: Sequence[Example], batch_tokens: int, seed: int) -> None:
        self.examples, self.batch_tokens, self.seed = examples, batch_tokens, seed
        self.epochs: list[list[list[int]]] = []

    def num_steps(self, epochs: float) -> int:
        """The number of steps of so many epochs, at least one."""
        whole, part = int(epochs), epochs - int(epochs)
        steps = sum(len(self.epoch(index)) for index in range(whole))
        return max(1, steps + (math.ceil(part * len(self.epoch(whole))) if part else 0))

    def step(self, step: int) -> list[Example]:
        """The examples of a step, those with equal prompts side by side."""
        epoch, batch = self.position(step)
        chosen = [self.examples[index] for index in self.epoch(epoch)[batch]]
        return sorted(chosen, key=lambda e: (len(e.prompt_ids), e.prompt_ids, len(e.token_ids), e.token_ids))

    def epoch_of(self, step: int) -> float:
        """How many epochs are done after a step."""
        epoch, batch = self.position(step)
        return epoch + (batch + 1) / len(self.epoch(epoch))

    def position(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and its batch within the epoch."""
        epoch = 0
        while step >= len(self.epoch(epoch)):
            step -= len(self.epoch(epoch))
            epoch += 1
        return epoch, step

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as indexes of examples."""
        while len(self.epochs) <= epoch:
            order = list(range(len(self.examples)))
            random.Random(f"{self.seed}/{len(self.epochs)}").shuffle(order)
            batches, tokens = list[list[int]](), 0
            for index in order:
                tokens += self.examples[index].num_tokens
                if not batches or tokens > self.batch_tokens:
                    batches.append([])
                    tokens = self.examples[index].num_tokens
                batches[-1].append(index)
            self.epochs.append(batches)
        return self.epochs[epoch]


def make_batch(examples: Sequence[Example], ranks: int = 1) -> Batch:
    """The examples as a batch whose `advantages` are their weights, scaled so that the mean weight of the tokens that
    carry loss is 1. The last example is repeated, without loss, until `ranks` divides the number of rows."""
    fill = -len(examples) % ranks
    rows = [*examples, *[examples[-1]] * fill]
    lengths = torch.tensor([len(row.token_ids) for row in rows])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    loss_mask = _padded([row.carries_loss for row in rows], torch.bool)
    loss_mask[len(examples) :] = False
    weights = torch.tensor([row.weight for row in rows])[:, None] * loss_mask
    total = weights.sum()
    scale = loss_mask.sum() / total if total > 0 else 0.0
    prompts = [row.prompt_ids for row in rows]
    groups = [0] * len(rows)
    for index in range(1, len(rows)):
        groups[index] = groups[index - 1] + (prompts[index] != prompts[index - 1])
    return Batch(
        input_ids=_padded([row.prompt_ids + row.token_ids for row in rows], torch.int64),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        mask=mask,
        loss_mask=loss_mask,
        behavior_logprobs=torch.zeros(mask.shape),
        rewards=torch.zeros(len(rows), dtype=torch.float64),
        group_ids=torch.tensor(groups),
        advantages=weights * scale,
    )


def _padded(rows: Sequence[Sequence[int]], dtype: torch.dtype) -> torch.Tensor:
    tensors = [torch.tensor(row, dtype=dtype) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def _read(path: str, cfg: DataConfig, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    is_file = Path(path).suffix in (".jsonl", ".parquet")
    if is_file and not Path(path).is_file():
        raise ValueError(f"data.paths: there is no file {path}")
    records = file_records(Path(path)) if is_file else hub_records(path, None, cfg.split)
    for number, row in records:
        origin = f"{path}:{number}"
        if isinstance(row, str):
            raise ValueError(f"{origin}: {row}; every line must be a JSON object")
        try:
            yield read_example(row, tokenizer, cfg.loss_on, origin)
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"{origin} must have the fields prompt and completion, messages, or text, as strings or lists of "
                f"messages with role and content ({error!r})"
            ) from error


def read_example(row: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase", loss_on: str, origin: str) -> Example:
    """Tokenize a row. Fields are those of the data sets that TRL reads: `prompt` and `completion`, as text or as
    messages; `messages`; or `text`. A prompt may end with a message of the assistant, which the completion then
    continues. Further fields: `weight`; `env` and `key` of the problem; `truncated`, for a completion without an end.

    Raises:
        KeyError, TypeError, ValueError: the row is malformed.
    """
    end = [] if row.get("truncated") else [tokenizer.eos_token_id]
    if "text" in row and "completion" not in row:
        segments = [("", False), (row["text"], True)]
    elif "messages" in row and "completion" not in row:
        segments, end = _turns(row["messages"], tokenizer, origin), []
    else:
        segments, end = _completion(row["prompt"], row["completion"], tokenizer, origin, end)
    ids, loss = list[int](), list[bool]()
    for text, carries_loss in segments:
        found = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        ids += found
        loss += [carries_loss] * len(found)
    ids, loss = [*ids, *end], [*loss, *[True] * len(end)]
    first = loss.index(True) if True in loss else len(ids)
    split = 1 if loss_on == "all" else max(1, first)
    if len(ids) <= split:
        raise ValueError(f"{origin} has no tokens to learn; remove the row")
    carries = [True] * (len(ids) - split) if loss_on == "all" else loss[split:]
    weight = 1.0 if row.get("weight") is None else float(row["weight"])
    if not (0 <= weight < math.inf):
        raise ValueError(f"{origin}: weight must be 0 or more, got {row['weight']}")
    states_problem = row.get("env") is not None and row.get("key") is not None
    problem = (str(row["env"]), str(row["key"])) if states_problem else None
    return Example(tuple(ids[:split]), tuple(ids[split:]), tuple(carries), weight, origin, problem)


def _completion(
    prompt: str | Turns, completion: str | Turns, tokenizer: "PreTrainedTokenizerBase", origin: str, end: list[int]
) -> tuple[list[tuple[str, bool]], list[int]]:
    """The segments (text, carries loss) of a prompt and its completion, and the ids that end the completion."""
    if not isinstance(completion, str):
        assert not isinstance(prompt, str)
        return _turns([*prompt, *completion], tokenizer, origin, first=len(prompt)), []
    if isinstance(prompt, str):
        return [(prompt, False), (completion, True)], end
    goes_on = prompt[-1]["role"] == "assistant"
    rendered = _render(prompt, tokenizer, origin, add_generation_prompt=not goes_on, continue_final_message=goes_on)
    return [(rendered, False), (completion, True)], end


def _turns(
    messages: Turns, tokenizer: "PreTrainedTokenizerBase", origin: str, first: int = 0
) -> list[tuple[str, bool]]:
    """The conversation in segments (text, carries loss): the assistant's turns from index `first` on carry loss."""
    whole, done = _render(messages, tokenizer, origin), 0
    segments: list[tuple[str, bool]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index < first:
            continue
        before = _render(messages[:index], tokenizer, origin, add_generation_prompt=True)
        after = _render(messages[: index + 1], tokenizer, origin)
        if not (whole.startswith(before) and whole.startswith(after)):
            raise ValueError(
                f"{origin}: the chat template of the model changes earlier turns of a conversation; give rows with one "
                "turn of the assistant, as prompt and completion"
            )
        segments += [(whole[done : len(before)], False), (whole[len(before) : len(after)], True)]
        done = len(after)
    if not segments:
        raise ValueError(f"{origin} has no message of the assistant; remove the row")
    return segments


def _render(messages: Turns, tokenizer: "PreTrainedTokenizerBase", origin: str, **options: bool) -> str:
    if tokenizer.chat_template is None:
        raise ValueError(
            f"{origin} has messages, but the model has no chat template; give text as prompt and completion"
        )
    return tokenizer.apply_chat_template(list(messages), tokenize=False, **options)

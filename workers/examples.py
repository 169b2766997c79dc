"""Examples for supervised fine-tuning: how they are read, checked and tokenized.

An example is read as a language model sees it when it generates: the prompt is tokenized by itself, and each turn of
the assistant by itself.
"""

import hashlib
import random
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.sft import DataConfig
from envs.records import file_records, hub_records
from workers.tokenization import beginning, format_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turns = list[Mapping[str, str]]
NAMED = 5  # examples listed in a message
MAX_WEIGHT = 1_000_000  # so that weights can be added in float32
MESSAGES = "a list of messages with role and content"
TOKEN_IDS: dict[int, int] = {}  # the integers of all examples: shared, a token takes 16 bytes instead of 48


@dataclass(frozen=True)
class Example:
    """A tokenized example: a prompt and the completion that follows it.

    carries_loss  for each token of the completion
    weight        of its tokens in the loss, relative to those of other examples; > 0
    origin        the file and line, or the dataset and row, that it comes from
    problem       (task, key) of the problem it solves, if the data states it
    group         the same for examples of which either all or none are held out: those with the same prompt
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    carries_loss: tuple[bool, ...]
    weight: float
    origin: str
    problem: tuple[str, str] | None
    group: str

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


@dataclass(frozen=True)
class Examples:
    """What a run trains on, what it measures its loss on, and the (origin, tokens) of examples that are too long."""

    training: list[Example]
    held_out: list[Example]
    too_long: list[tuple[str, int]]

    @property
    def sha256(self) -> str:
        """The identity of all examples, in order."""
        found = hashlib.sha256()
        for example in (*self.training, *self.held_out):
            found.update(repr((example.prompt_ids, example.token_ids, example.carries_loss, example.weight)).encode())
        return found.hexdigest()


def load_examples(cfg: DataConfig, tokenizer: "PreTrainedTokenizerBase", max_tokens: int, seed: int) -> Examples:
    """Read all sources of `cfg`. The seed selects the examples if `data.ratio` leaves some out.

    Raises:
        ValueError: a source cannot be read, a row is malformed (the message gives its line), or no example fits.
    """
    sources, too_long = list[list[Example]](), list[tuple[str, int]]()
    for path in cfg.paths:
        fitting, before = list[Example](), len(too_long)
        for example in _read(path, cfg, tokenizer):
            if example.num_tokens <= max_tokens:
                fitting.append(example)
            else:
                too_long.append((example.origin, example.num_tokens))
        if not fitting and len(too_long) == before:
            raise ValueError(f"data.paths: {path} has no rows; remove it from the list")
        if not fitting:
            raise ValueError(f"data.paths: {path} has no example of at most {max_tokens} tokens; raise data.max_tokens")
        sources.append(fitting)
    if cfg.ratio is not None:
        unit = min(len(source) / parts for source, parts in zip(sources, cfg.ratio, strict=True))
        sources = [
            random.Random(f"ratio/{seed}/{number}").sample(source, max(1, int(unit * parts)))
            for number, (source, parts) in enumerate(zip(sources, cfg.ratio, strict=True))
        ]
    return Examples(*hold_out([example for source in sources for example in source], cfg.held_out_rows), too_long)


def hold_out(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """Split into (training, held out). About `count` examples, at most a tenth, are held out; those with the same
    prompt are in the same part. The split does not depend on the order of the examples."""
    count = min(count, len(examples) // 10)
    by_prompt: dict[str, list[Example]] = {}
    for example in examples:
        by_prompt.setdefault(example.group, []).append(example)
    held_out: list[Example] = []
    for digest in sorted(by_prompt):
        if len(held_out) + len(by_prompt[digest]) <= count:
            held_out += by_prompt[digest]
    kept = set(map(id, held_out))
    return [example for example in examples if id(example) not in kept], held_out


def check_held_out(examples: Examples, keys: Collection[str]) -> None:
    """Check that no example solves one of the held-out problems, given as keys. Its task does not matter, since two
    tasks may have data in common.

    Raises:
        ValueError: an example does.
    """
    for example in (*examples.training, *examples.held_out):
        task, key = example.problem or ("", None)
        if key in keys:
            raise ValueError(
                f"{example.origin}: the problem {key} of {task} is in the evaluation set, so accuracy on it would be "
                "meaningless; remove the example"
            )


def describe(too_long: Sequence[tuple[str, int]]) -> str:
    """Where the first few of these examples, (origin, tokens), come from."""
    named = ", ".join(f"{origin} ({tokens} tokens)" for origin, tokens in too_long[:NAMED])
    return named + (", ..." if len(too_long) > NAMED else "")


def _read(path: str, cfg: DataConfig, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    is_file = Path(path).suffix in (".jsonl", ".parquet")
    if is_file and not Path(path).is_file():
        raise ValueError(f"data.paths: there is no file {path}")
    records = file_records(Path(path)) if is_file else hub_records(path, None, cfg.split)
    for number, row in records:
        origin = f"{path}:{number}"
        if isinstance(row, str):
            raise ValueError(f"{origin}: {row}; correct or remove the line")
        yield read_example(row, tokenizer, cfg.loss_on, origin)


def read_example(row: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase", loss_on: str, origin: str) -> Example:
    """Tokenize a row. Fields are those of the datasets that TRL reads: `prompt` and `completion`, as text or as
    messages; `messages`; or `text`. A prompt may end with a message of the assistant, which the completion then
    continues. Further fields: `weight`; `env` and `key` of the problem; `truncated`, for a completion without an end.
    A field that is null is the same as none.

    Raises:
        ValueError: the row is malformed, or has text that the tokenizer does not know.
    """
    row = {key: value for key, value in row.items() if value is not None}
    _check_row(row, origin)
    is_open = bool(row.get("truncated"))
    if "completion" in row:
        start, last = row["prompt"], row["completion"]
        segments = _completion(start, last, tokenizer, origin, is_open)
    elif "messages" in row:
        start = last = row["messages"]
        segments = _turns(last, tokenizer, origin, is_open)
    else:
        start = last = row["text"]
        segments = [(last, True)]
    ids, loss, found = list[int](), list[bool](), list[int]()
    for text, carries_loss in segments:
        found = _token_ids(text, tokenizer, origin) if text else []
        ids += found
        loss += [carries_loss] * len(found)
    # Samplers stop at the end token, but the chat template may end the last turn with another one.
    is_ended = not isinstance(last, str) and tokenizer.eos_token_id in found
    end = [] if is_ended or is_open else [tokenizer.eos_token_id]
    bos = beginning(tokenizer, ids) if isinstance(start, str) else []
    ids, loss = [*bos, *ids, *end], [*[False] * len(bos), *loss, *[True] * len(end)]
    first = loss.index(True) if True in loss else len(ids)
    split = 1 if loss_on == "all" else max(1, first)
    if len(ids) <= split:
        raise ValueError(f"{origin} has no tokens to learn; remove the row")
    carries = [True] * (len(ids) - split) if loss_on == "all" else loss[split:]
    weight = float(row.get("weight", 1.0))
    problem = (str(row["env"]), str(row["key"])) if "env" in row and "key" in row else None
    prompt = ids[:first] if first > 1 else ids[1:]  # plain text has no prompt
    group = hashlib.sha256(repr(tuple(prompt)).encode()).hexdigest()
    shared = tuple(map(TOKEN_IDS.setdefault, ids, ids))
    return Example(shared[:split], shared[split:], tuple(carries), weight, origin, problem, group)


def _check_row(row: Mapping[str, Any], origin: str) -> None:
    """
    Raises:
        ValueError: a field is missing, or is of another type.
    """
    fields = ("prompt", "completion") if "completion" in row else ("messages",) if "messages" in row else ("text",)
    if missing := [field for field in fields if field not in row]:
        raise ValueError(
            f"{origin} has no {missing[0]}; a row must have the fields prompt and completion, messages, or text"
        )
    for field in fields:
        is_text = isinstance(row[field], str) and field != "messages"
        if not is_text and (field == "text" or not _are_turns(row[field])):
            kinds = {"text": "text", "messages": MESSAGES}.get(field, f"text or {MESSAGES}")
            raise ValueError(f"{origin}: {field} must be {kinds}, got {str(row[field])[:80]!r}")
    if "completion" in row and isinstance(row["prompt"], str) and not isinstance(row["completion"], str):
        raise ValueError(f"{origin}: the completion is a list of messages, so the prompt must be one too")
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MAX_WEIGHT:
        raise ValueError(
            f"{origin}: weight must be a number above 0 and at most {MAX_WEIGHT:,}, got {str(weight)[:80]!r}; remove "
            "the row if it is not to count"
        )


def _are_turns(value: object) -> bool:
    """Whether this is a list of messages, at least one."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    )


def _token_ids(text: str, tokenizer: "PreTrainedTokenizerBase", origin: str) -> list[int]:
    """The tokens of a text.

    Raises:
        ValueError: the tokenizer drops characters of it. Those of the tiny models drop the words of other tasks.
    """
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    kept = tokenizer.decode(found, clean_up_tokenization_spaces=False)
    unknown = tokenizer.unk_token_id in found and str(tokenizer.unk_token) not in text
    if unknown or len(_characters(kept)) < len(_characters(text)):
        raise ValueError(
            f"{origin}: the tokenizer of the model reads {text[:40]!r} as {kept[:40]!r}; write the row with the tokens "
            "that it has, or choose another model"
        )
    return found


def _characters(text: str) -> str:
    """The text without spaces, and with characters that a tokenizer may replace by equal ones in one form."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _completion(
    prompt: str | Turns, completion: str | Turns, tokenizer: "PreTrainedTokenizerBase", origin: str, is_open: bool
) -> list[tuple[str, bool]]:
    """The segments (text, carries loss) of a prompt and its completion."""
    if not isinstance(completion, str):
        assert not isinstance(prompt, str)  # _check_row
        return _turns([*prompt, *completion], tokenizer, origin, is_open, first=len(prompt))
    if isinstance(prompt, str):
        return [(prompt, False), (completion, True)]
    goes_on = prompt[-1]["role"] == "assistant"
    rendered = _render(prompt, tokenizer, origin, add_generation_prompt=not goes_on, continue_final_message=goes_on)
    return [(rendered, False), (completion, True)]


def _turns(
    messages: Turns, tokenizer: "PreTrainedTokenizerBase", origin: str, is_open: bool, first: int = 0
) -> list[tuple[str, bool]]:
    """The conversation in segments (text, carries loss): the assistant's turns from index `first` on carry loss. If it
    `is_open`, the last turn has no end."""
    whole, done = _render(messages, tokenizer, origin, continue_final_message=is_open), 0
    segments: list[tuple[str, bool]] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index < first:
            continue
        if index == 0:
            raise ValueError(f"{origin}: the assistant begins the conversation; give it a message to answer")
        before = _render(messages[:index], tokenizer, origin, add_generation_prompt=True)
        is_last = index + 1 == len(messages)
        after = whole if is_last else _render(messages[: index + 1], tokenizer, origin)
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
    try:
        return format_messages(tokenizer, messages, **options)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error

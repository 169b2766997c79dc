"""Write the corpus and the untrained model from which a tiny base model is trained.

    python -m tools.tiny_base countdown --output outputs/tiny-base/1 --seed 0 --traces 300000

`make tiny-base` and `make tiny-multiplication-base` run this and then train_sft.py, stage by stage.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from envs.countdown import corpus as countdown
from envs.multiplication import corpus as multiplication
from tools.tiny_base.blank import make_model, make_tokenizer

CORPORA = {"countdown": countdown, "multiplication": multiplication}


def blank_tokenizer(task: str) -> Qwen2Tokenizer:
    """The tokenizer of a task's trace language: one token for each word, sign and number."""
    corpus = CORPORA[task]
    return make_tokenizer([*corpus.WORDS, *corpus.NUMBERS])


def blank_model(task: str, tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2ForCausalLM:
    """An untrained model of 0.6M parameters over the tokenizer's vocabulary."""
    corpus = CORPORA[task]
    return make_model(tokenizer, seed, corpus.NUMBERS, corpus.PERIODS)


def write_start(
    output: Path, tokenizer: Qwen2Tokenizer, model: Qwen2ForCausalLM, rows: Iterable[Mapping[str, str]]
) -> None:
    """Write what train_sft.py starts from: `output`/blank, a Hugging Face folder, and `output`/corpus.jsonl."""
    output.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(output / "blank")
    model.save_pretrained(output / "blank")
    with (output / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_base", description=__doc__, formatter_class=raw)
    parser.add_argument("task", choices=sorted(CORPORA))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--traces", type=int, default=300_000, help="number of solution traces in the corpus")
    parser.add_argument("--drills", type=int, default=0, help="number of rows of plain arithmetic in the corpus")
    parser.add_argument(
        "--finishes",
        type=float,
        default=multiplication.FINISHES,
        help="multiplication: share of traces that compute every part",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    corpus = CORPORA[args.task]
    extra = {"finishes": args.finishes} if args.task == "multiplication" else {}
    rows = itertools.chain(corpus.traces(args.traces, args.seed, **extra), corpus.drills(args.drills, args.seed))
    tokenizer = blank_tokenizer(args.task)
    write_start(args.output, tokenizer, blank_model(args.task, tokenizer, args.seed), rows)


if __name__ == "__main__":
    main()

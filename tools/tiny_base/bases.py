"""The tiny base models: the size, vocabulary and corpus of each, and the stages in which it is trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from envs.countdown import corpus as countdown
from envs.multiplication import corpus as multiplication
from tools.tiny_base.blank import make_model, make_tokenizer


@dataclass(frozen=True)
class Stage:
    """A run of train_sft.py on a corpus of its own.

    traces, drills  numbers of rows
    options         further arguments of the corpus's function `traces`
    """

    traces: int
    drills: int
    lr: float
    warmup_steps: int = 93
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Base:
    """A tiny base model.

    language     the module of the corpus: WORDS, NUMBERS (token -> value), PERIODS, `traces` and `drills`
    stages       trained one after the other; the seed of a stage's corpus is its index
    more_words   tokens beyond WORDS and NUMBERS
    hidden_size, intermediate_size
                 the widths of the model
    """

    language: Any
    stages: Sequence[Stage]
    more_words: Sequence[str] = ()
    hidden_size: int = 128
    intermediate_size: int = 256

    def tokenizer(self) -> Qwen2Tokenizer:
        """One token for each word, sign and number."""
        return make_tokenizer([*self.language.WORDS, *self.more_words, *self.language.NUMBERS])

    def blank_model(self) -> Qwen2ForCausalLM:
        """The untrained model."""
        language, sizes = self.language, (self.hidden_size, self.intermediate_size)
        return make_model(self.tokenizer(), 0, language.NUMBERS, language.PERIODS, *sizes)

    def corpus(self, index: int) -> Iterator[dict[str, str]]:
        """The rows of a stage."""
        stage = self.stages[index]
        traces = self.language.traces(stage.traces, index, **stage.options)
        return chain(traces, self.language.drills(stage.drills, index))


SEARCH = [Stage(300_000, 0, lr=3e-3), Stage(110_000, 45_000, lr=2e-3, warmup_steps=50)]
DIRECT = {"stamina": countdown.SINGLE_ATTEMPT}
BASES = {
    "tiny": Base(countdown, SEARCH),
    "tiny-direct": Base(countdown, [Stage(300_000, 60_000, lr=3e-3, options=DIRECT)]),
    "tiny-student": Base(
        countdown,
        [
            *SEARCH,
            # After the first two stages and 70,000 rows of the third one, 3.0% of its attempts still miscopy a number.
            Stage(160_000, 45_000, lr=1e-3, warmup_steps=50),
            Stage(100_000, 20_000, lr=7e-4, warmup_steps=50),
        ],
        hidden_size=64,
        intermediate_size=128,
    ),
    "tiny-bilingual": Base(
        countdown,
        [replace(stage, options={"languages": ("en", "zh")}) for stage in SEARCH],
        countdown.CHINESE_WORDS,
    ),
    "tiny-multiplication": Base(
        multiplication,
        [
            Stage(40_000, 80_000, lr=3e-3),
            Stage(200_000, 10_000, lr=1.5e-3, warmup_steps=50),
            Stage(80_000, 0, lr=1.5e-3, warmup_steps=50, options={"finishes": 0.4}),
        ],
    ),
}

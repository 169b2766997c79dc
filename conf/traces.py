"""The settings of sample_traces.py: what is sampled, what is built from it, and which filters the rows pass."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from conf.strategies import DecodingConfig
from envs.prompts import STYLES
from grpo.settings import at_least, not_empty, one_of
from rewards.scripts import SCRIPTS

# The functions of pipelines/filters.py.
FILTERS = (
    "correct",
    "format",
    "not_truncated",
    "language",
    "readable",
    "not_repetitive",
    "no_duplicates",
    "at_most_k",
    "balanced",
    "first_rows",
)
BUILDS = ("journey", "shortcut", "shortcut_tokens")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass
class ThresholdConfig:
    """The thresholds of the filters (pipelines/filters.py).

    language            language: the target language of the thought
    min_language_share  language: smallest share of the thought's words in the target language, 0..1
    max_repetition      not_repetitive: largest share of the thought's 4-grams that repeat an earlier one, 0..1
    max_other_scripts   readable: largest share of the thought's letters outside its main script, 0..1
    max_line            readable: longest line of the thought, in characters
    max_run             readable: longest run of one character
    max_symbols         readable: largest share of the thought's characters that are symbols, 0..1
    k                   at_most_k: rows of a problem
    bins                balanced: number of difficulty bins
    max_rows            balanced, first_rows: number of rows; null for no limit
    """

    language: str = "en"
    min_language_share: float = 0.95
    max_repetition: float = 0.5
    max_other_scripts: float = 0.1
    max_line: int = 2000
    max_run: int = 20
    max_symbols: float = 0.05
    k: int = 4
    bins: int = 5
    max_rows: int | None = None

    def __post_init__(self) -> None:
        one_of("thresholds.language", self.language, tuple(SCRIPTS))
        for key in ("min_language_share", "max_repetition", "max_other_scripts", "max_symbols"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"thresholds.{key} must be in 0..1, got {getattr(self, key)}")
        for key in ("max_line", "max_run", "k", "bins"):
            at_least(f"thresholds.{key}", getattr(self, key), 1)
        if self.max_rows is not None:
            at_least("thresholds.max_rows", self.max_rows, 1)


@dataclass
class JourneyConfig:
    """How long thoughts are built from attempts (pipelines/journey.py).

    min_wrong, max_wrong  the number of wrong attempts before the right one is drawn from this range, >= 0
    max_tokens            longest completion, in tokens of the model that samples
    """

    min_wrong: int = 1
    max_wrong: int = 8
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        at_least("journey.min_wrong", self.min_wrong, 0)
        at_least("journey.max_wrong", self.max_wrong, max(1, self.min_wrong))
        at_least("journey.max_tokens", self.max_tokens, 1)


@dataclass
class TracesConfig(DecodingConfig):
    """The settings of sample_traces.py.

    output       the folder to write; null for outputs/<run>/traces or outputs/traces-<model>-<env>
    samples      the folder of the samples, which several outputs can share; null for `output`
    num_samples  the default of strategy.n
    build        what is built from the samples of a problem before the filters: "journey" (a long thought with wrong
                 attempts and the right one), "shortcut" (the right attempts of the journeys alone) or
                 "shortcut_tokens" (as many tokens of right attempts as the journeys have); null for the samples as
                 they are
    write_style  prompt style of the written rows, if another model than the sampled one will train on them
    license      of the data: an identifier of the Hugging Face Hub, such as apache-2.0 or other
    filters      names of filters, applied in this order
    """

    num_problems: int = 500
    num_samples: int = 8
    output: str | None = None
    samples: str | None = None
    build: str | None = None
    journey: JourneyConfig = field(default_factory=JourneyConfig)
    write_style: str | None = None
    license: str = "unknown"
    filters: list[str] = field(default_factory=list)
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)

    @property
    def output_folder(self) -> Path:
        if self.output is not None:
            return Path(self.output)
        return (
            Path("outputs", self.run, "traces")
            if self.run
            else Path(f"outputs/traces-{self.model.name}-{self.env.name}")
        )

    @property
    def samples_folder(self) -> Path:
        return Path(self.samples) if self.samples is not None else self.output_folder

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_samples", self.num_samples, 1)
        not_empty("output", self.output)
        not_empty("samples", self.samples)
        for name in self.filters:
            one_of("filters", name, FILTERS)
        if self.build is not None:
            one_of("build", self.build, BUILDS)
            if not self.strategy.samples:
                raise ValueError(
                    f"build={self.build} needs several samples of each problem; choose strategy=sample, not "
                    f"{self.strategy.name}"
                )
        if self.write_style is not None:
            one_of("write_style", self.write_style, STYLES)
        if not LICENSE.fullmatch(self.license):
            raise ValueError(
                f"license must be an identifier of the Hugging Face Hub such as apache-2.0, got {self.license}"
            )

"""The settings of train_sft.py: the examples, and how a step draws from them."""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from conf.algorithms import AlgorithmConfig, OptimizerConfig
from conf.schema import Config, RunConfig
from grpo.settings import KlConfig, LossConfig, above, at_least, one_of

LOSS_ON = ("completion", "all")


@dataclass
class DataConfig:
    """The examples (workers/examples.py).

    paths          JSONL or parquet files, folders that `datasets` loads, or names of datasets on the Hub
    split          the split to read, of folders and of datasets on the Hub
    ratio          numbers of examples of each path relative to the others, for example [3, 1]: the largest parts that
                   are in this ratio are used; null uses all examples
    loss_on        "completion": the loss is that of the completions, or of the assistant's turns; "all": of all tokens
    max_tokens     longest example in tokens; longer ones are left out and reported; null for model.max_prompt_tokens +
                   model.max_completion_tokens
    held_out_rows  examples that are not trained on, to measure the loss; at most a tenth of all; >= 0
    """

    paths: list[str] = MISSING
    split: str = "train"
    ratio: list[int] | None = None
    loss_on: str = "completion"
    max_tokens: int | None = None
    held_out_rows: int = 128

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("data.paths must name at least one file, folder or dataset, got []")
        if self.ratio is not None and (len(self.ratio) != len(self.paths) or min(self.ratio) < 1):
            raise ValueError(
                f"data.ratio must have a positive number for each of the {len(self.paths)} data.paths, got {self.ratio}"
            )
        one_of("data.loss_on", self.loss_on, LOSS_ON)
        at_least("data.held_out_rows", self.held_out_rows, 0)
        if self.max_tokens is not None:
            at_least("data.max_tokens", self.max_tokens, 2)


@dataclass
class SftConfig(RunConfig):
    """All settings of train_sft.py.

    data                DataConfig
    epochs              passes over the examples, above 0; may be fractional
    num_steps           training steps; 0 for as many as `epochs` passes take
    batch_tokens        largest number of tokens of a step's examples, prompts included, >= 1
    micro_batch_tokens  largest number of distinct tokens in one forward and backward pass, >= 1; affects memory, not
                        the result
    optimizer           OptimizerConfig
    """

    data: DataConfig = field(default_factory=DataConfig)
    epochs: float = 1.0
    num_steps: int = 0
    batch_tokens: int = 16384
    micro_batch_tokens: int = 8192
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    # The actor's ranks need not divide the examples of a step, whose number varies: the batch is filled up.
    rows_per_update = 0

    @property
    def algorithm(self) -> AlgorithmConfig:
        """The actor's settings: one update per step on the negative log-likelihood."""
        return AlgorithmConfig(
            name="sft",
            micro_batch_tokens=self.micro_batch_tokens,
            loss=LossConfig(name="nll"),
            kl=KlConfig(coef=0.0),
            optimizer=self.optimizer,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        above("epochs", self.epochs, 0)
        at_least("num_steps", self.num_steps, 0)
        at_least("batch_tokens", self.batch_tokens, 1)
        at_least("micro_batch_tokens", self.micro_batch_tokens, 1)
        if self.topology.max_off_policy_steps:
            raise ValueError("topology.max_off_policy_steps=1 is for train_grpo.py; choose a topology without it")


TrainingConfig = Config | SftConfig  # of a run that trains the actor

ConfigStore.instance().store(name="sft_schema", node=SftConfig)

"""The settings of tools/train_verifier.py: the training data of the verifier, and its optimization."""

from dataclasses import dataclass, field

from conf.strategies import FromRunConfig
from grpo.settings import above, at_least


@dataclass
class VerifierConfig:
    """The training of a learned verifier.

    num_problems    number of problems from the training split
    samples         completions per problem, sampled at `temperature`
    held_back       fraction of the problems used for validation
    train_backbone  also train a copy of the model below the value head; otherwise only the head is trained
    lr, head_lr     learning rates of the backbone and of the randomly initialized head; both decay linearly to 0
    num_epochs      maximum number of epochs
    patience        training ends after this many epochs without a lower validation loss
    batch_tokens    tokens per optimizer step, padding included
    """

    num_problems: int = 2500
    samples: int = 8
    temperature: float = 1.0
    held_back: float = 0.2
    train_backbone: bool = True
    lr: float = 1e-5
    head_lr: float = 1e-3
    num_epochs: int = 4
    patience: int = 1
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        at_least("verifier.num_problems", self.num_problems, 2)
        for key in ("samples", "num_epochs", "patience", "batch_tokens"):
            at_least(f"verifier.{key}", getattr(self, key), 1)
        for key in ("temperature", "lr", "head_lr"):
            above(f"verifier.{key}", getattr(self, key), 0)
        if not 0 < self.held_back < 1:
            raise ValueError(f"verifier.held_back must be between 0 and 1, got {self.held_back}")


@dataclass
class TrainVerifierConfig(FromRunConfig):
    """The settings of tools/train_verifier.py."""

    verifier: VerifierConfig = field(default_factory=VerifierConfig)

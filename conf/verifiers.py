"""The settings of tools/train_verifier.py: what the verifier is shown, and how it learns."""

from dataclasses import dataclass, field

from conf.strategies import OfRunConfig
from grpo.settings import above, at_least


@dataclass
class VerifierConfig:
    """num_problems    training problems, of which the share `held_back` is kept for validation
    samples         completions of each, at `temperature`
    train_backbone  the model below the head learns too (a copy of it); else the head alone does
    lr, head_lr     of the backbone and of the head, which starts from nothing; both fall linearly to 0
    num_epochs      at most; training ends after `patience` epochs without a lower validation loss
    batch_tokens    of one update, padding included
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
class TrainVerifierConfig(OfRunConfig):
    verifier: VerifierConfig = field(default_factory=VerifierConfig)

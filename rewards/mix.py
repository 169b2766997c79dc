"""The reward mix: a weighted sum of named components."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rewards import components
from rewards.components import Scored
from rewards.judge import JudgeConfig
from rewards.scripts import SCRIPTS

FORMAT_JUDGE = "format_judge"
COMPONENTS: Mapping[str, Callable[[Scored], float]] = {
    name: function
    for name, function in inspect.getmembers(components, inspect.isfunction)
    if function.__module__ == components.__name__ and not name.startswith("_")
}


@dataclass
class RewardConfig:
    """The reward is the sum of weight * component. Every component is also logged separately.

    weights          component name -> weight
    language         target language of the thought, for the component `language`
    max_tokens       length limit in tokens, for the component `length`
    overlong_tokens  number of tokens before the limit over which the length penalty grows
    shuffled         permute the rewards among the completions of a training step (rewards/shuffle.py)
    workers          number of processes that score completions during generation
    timeout_s        seconds that scoring one completion may take before its process is killed
    judge            the model behind the component `format_judge`
    """

    weights: dict[str, float] = field(default_factory=dict)
    language: str = "en"
    max_tokens: int = 1024
    overlong_tokens: int = 128
    shuffled: bool = False
    workers: int = 1
    timeout_s: float = 10.0
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        known = [*COMPONENTS, FORMAT_JUDGE]
        if not self.weights:
            raise ValueError(f"reward.weights must name at least one of {', '.join(known)}")
        for name in self.weights:
            if name not in known:
                raise ValueError(f"reward.weights must be one of {', '.join(known)}, got {name}")
        if not all(map(math.isfinite, self.weights.values())) or not any(self.weights.values()):
            raise ValueError(f"reward.weights must be finite numbers, and not all 0, got {dict(self.weights)}")
        if self.language not in SCRIPTS:
            raise ValueError(f"reward.language must be one of {', '.join(SCRIPTS)}, got {self.language}")
        if "length" in self.weights and not 0 < self.overlong_tokens <= self.max_tokens:
            raise ValueError(
                f"reward.overlong_tokens must be in 1..reward.max_tokens={self.max_tokens}, got {self.overlong_tokens}"
            )
        if self.workers < 1 or not 0 < self.timeout_s < math.inf:
            raise ValueError(
                f"reward.workers and reward.timeout_s must be above 0 and finite, got {self.workers}, {self.timeout_s}"
            )
        self.judge.check("reward.judge")
        if FORMAT_JUDGE not in self.weights and self.judge.model is not None:
            raise ValueError(
                f"reward.judge.model={self.judge.model} is used by no component; give reward.weights.format_judge a "
                "weight, or leave the model out"
            )
        if FORMAT_JUDGE in self.weights and self.judge.model is None:
            raise ValueError(
                "reward.weights.format_judge needs reward.judge.model: a Hub name, a folder or a served model name"
            )

    @property
    def judged(self) -> bool:
        """Whether the mix needs a judge."""
        return FORMAT_JUDGE in self.weights

    def total(self, scores: Mapping[str, float]) -> float:
        """The weighted sum of the given components."""
        return sum(self.weights[name] * score for name, score in scores.items())

"""The reward mix: named components of a completion, weighted and added up."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rewards import components
from rewards.components import SCRIPTS, Scored
from rewards.judge import JudgeConfig
from rewards.tags import read_tags
from rewards.verdict import Verdict

FORMAT_JUDGE = "format_judge"
COMPONENTS: Mapping[str, Callable[[Scored], float]] = {
    name: function
    for name, function in inspect.getmembers(components, inspect.isfunction)
    if function.__module__ == components.__name__ and not name.startswith("_")
}


@dataclass
class RewardConfig:
    """The reward is the sum of weight * component; every component is also logged apart.

    language         what the thought should be written in, for the component of that name
    max_tokens       the longest completion, for the component `length`
    overlong_tokens  over how many tokens before that the punishment grows
    workers          processes that score beside generation
    timeout_s        seconds that a grader may take for one completion before it is killed
    """

    weights: dict[str, float] = field(default_factory=dict)
    language: str = "en"
    max_tokens: int = 1024
    overlong_tokens: int = 128
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
        if self.language not in SCRIPTS:
            raise ValueError(f"reward.language must be one of {', '.join(SCRIPTS)}, got {self.language}")
        if "length" in self.weights and not 0 < self.overlong_tokens <= self.max_tokens:
            raise ValueError(
                f"reward.overlong_tokens must be in 1..reward.max_tokens={self.max_tokens}, got {self.overlong_tokens}"
            )
        if self.workers < 1 or self.timeout_s <= 0:
            raise ValueError(
                f"reward.workers and reward.timeout_s must be above 0, got {self.workers}, {self.timeout_s}"
            )
        if FORMAT_JUDGE in self.weights and self.judge.model is None:
            raise ValueError(
                "reward.weights.format_judge needs reward.judge.model: a Hub name, a folder, or a served name"
            )

    @property
    def judged(self) -> bool:
        return FORMAT_JUDGE in self.weights

    def total(self, scores: Mapping[str, float]) -> float:
        """The weighted sum of the components that are known so far."""
        return sum(self.weights[name] * score for name, score in scores.items())


def component_scores(
    reward: RewardConfig, text: str, check: Callable[[str | None], Verdict], tokens: int | None
) -> tuple[Verdict, dict[str, float]]:
    """The task's verdict on a completion, and its rule-based components by name."""
    parts = read_tags(text)
    verdict = check(parts.answer)
    scored = Scored(text, parts, verdict, tokens, reward.language, reward.max_tokens, reward.overlong_tokens)
    return verdict, {name: COMPONENTS[name](scored) for name in reward.weights if name in COMPONENTS}

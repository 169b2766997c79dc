"""How far a run is: what it is to reach, and the lines of metrics that it has written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RECENT_STEPS = 10


@dataclass
class Progress:
    """The run ends with `num_steps`, or before that with the step that reaches `num_tokens`. `rows` are
    the lines of metrics.jsonl."""

    num_steps: int
    num_tokens: int | None = None
    rows: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def step_seconds(self) -> Sequence[float]:
        return [row["time/step"] for row in self.rows if "time/step" in row]

    @property
    def tokens(self) -> int:
        return int(sum(row.get("rollout/tokens", 0) for row in self.rows))

    @property
    def share(self) -> float:
        """0..1, by steps or tokens, whichever is nearer to its end."""
        by_tokens = self.tokens / self.num_tokens if self.num_tokens else 0.0
        return min(1.0, max(len(self.step_seconds) / self.num_steps, by_tokens))

    @property
    def seconds_left(self) -> float | None:
        """At the pace of the last steps; None before the first and after the last."""
        done, share = self.step_seconds, self.share
        if not done or share == 1:
            return None
        recent = done[-RECENT_STEPS:]
        return len(done) * (1 - share) / share * sum(recent) / len(recent)

    def place(self, step: int) -> str:
        if self.num_tokens is None:
            return f"step {step}/{self.num_steps}"
        return f"step {step}, {self.tokens:,}/{self.num_tokens:,} tokens"

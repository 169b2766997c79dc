"""The settings of `make reproduce`: the claims, and the comparisons that decide whether each of them holds."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from grpo.settings import above, one_of

LEVELS = (1, 2, 3, 4, 5)
REPRODUCE = "reproduce"  # the pipeline whose stages `make reproduce` runs


@dataclass
class TermConfig:
    """A part of an effect: `times` a measure of a stage.

    stage    a stage of the comparison's pipeline, evaluations that its file does not list included
    times    1 for the arm of which something is claimed, -1 for the arm that it is compared with
    measure  if it differs from that of the comparison
    options  further arguments of the measure
    """

    stage: str = MISSING
    times: float = 1.0
    measure: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ComparisonConfig:
    """A comparison. Its effect is the sum of its terms, computed for each seed and problem.

    label       what is compared, in words
    measure     a measure of tools/reproduce/measures.py
    effect      TermConfig
    at_least    what is claimed: the effect is at least this, in the unit of the measure (a share for a share, a factor
                for a ratio); null for a comparison that is shown and decides nothing
    options     arguments of the measure
    others      further stages that the measure reads, as its options name them
    difficulty  an evaluation by whose pass rates the problems are ranked; null for none
    levels      the fifths of the problems that count, 1 (easiest) to 5; empty for all
    pipeline    the pipeline in conf/pipeline/ that has the stages. Those of another one than `reproduce` are only read,
                from where `make pipeline` has run it with the same seeds.
    """

    label: str = MISSING
    measure: str = MISSING
    effect: list[TermConfig] = field(default_factory=list)
    at_least: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    difficulty: str | None = None
    levels: list[int] = field(default_factory=list)
    pipeline: str = REPRODUCE

    @property
    def stages(self) -> list[str]:
        """The stages that are read, without those that they need."""
        return [*(term.stage for term in self.effect), *self.others, *filter(None, [self.difficulty])]

    def __post_init__(self) -> None:
        if not self.effect:
            raise ValueError(f"comparison {self.label!r}: effect must have at least one term, got []")
        if self.levels and self.difficulty is None:
            raise ValueError(f"comparison {self.label!r}: levels={self.levels} needs difficulty, an evaluation")
        if set(self.levels) - set(LEVELS):
            raise ValueError(f"comparison {self.label!r}: levels must be some of 1 to 5, got {self.levels}")


@dataclass
class CurveConfig:
    """A figure: a measure of several stages over the values of one of its arguments.

    title       of the figure
    over        the argument; "level" for the fifths of the problems by difficulty
    values      its values
    stages      one line each
    measure, options, difficulty
                as in ComparisonConfig
    """

    title: str = MISSING
    measure: str = MISSING
    over: str = MISSING
    values: list[int] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    difficulty: str | None = None

    def __post_init__(self) -> None:
        if not self.values or not self.stages:
            raise ValueError(f"curve {self.title!r} needs values and stages, got {self.values} and {self.stages}")
        if self.over == "level" and self.difficulty is None:
            raise ValueError(f"curve {self.title!r}: over=level needs difficulty, an evaluation")


@dataclass
class ClaimConfig:
    """A claim of the literature.

    number       its place on the page, >= 1
    title        a heading
    sentence     the claim
    source       who made it: paper and section
    url          of the source
    done         what is done to test it
    limits       what the result does not show
    needed       what a refuted or undecided claim would need
    combine      "all": the claim holds if all its comparisons hold; "any": if one of them does, in which case their
                 intervals are widened for the number of comparisons
    comparisons  ComparisonConfig; at least one of them with `at_least`
    curves       CurveConfig
    """

    number: int = MISSING
    title: str = MISSING
    sentence: str = MISSING
    source: str = MISSING
    url: str = MISSING
    done: str = MISSING
    limits: str = MISSING
    needed: str = MISSING
    combine: str = "all"
    comparisons: list[ComparisonConfig] = field(default_factory=list)
    curves: list[CurveConfig] = field(default_factory=list)

    @property
    def deciding(self) -> list[ComparisonConfig]:
        """The comparisons that decide whether the claim holds."""
        return [comparison for comparison in self.comparisons if comparison.at_least is not None]

    @property
    def stages(self) -> list[str]:
        """The stages of the pipeline `reproduce` that are read, without those that they need."""
        named = [stage for each in self.comparisons if each.pipeline == REPRODUCE for stage in each.stages]
        for curve in self.curves:
            named += [*curve.stages, *filter(None, [curve.difficulty])]
        return list(dict.fromkeys(named))

    def __post_init__(self) -> None:
        above("number", self.number, 0)
        one_of("combine", self.combine, ("all", "any"))
        if not self.deciding:
            raise ValueError(f"claim {self.title!r} needs a comparison with at_least, which decides whether it holds")


ConfigStore.instance().store(name="claim_schema", node=ClaimConfig)

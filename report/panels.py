"""Which curves the page shows, and in which groups. A measure that no run has is left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# How a series is drawn: a line (measured at each step), dots on a line (at evaluations), stacked areas.
LINE, DOTS, STACK = "line", "dots", "stack"


@dataclass(frozen=True)
class Series:
    """A metric; `reward/*` stands for all of that prefix that no other series of the panel names."""

    metric: str
    label: str
    style: str = LINE


@dataclass(frozen=True)
class Panel:
    """`format` is share, number, or ratio (around 1); `first` is the series that a comparison starts with."""

    title: str
    series: Sequence[Series]
    format: str = "number"
    note: str = ""
    first: int = 0


@dataclass(frozen=True)
class Section:
    title: str
    panels: Sequence[Panel]


BEHAVIORS = ("verification", "backtracking", "subgoals", "backward_chaining", "keywords", "waits")
LABELS = {
    "length_right": "right",
    "length_wrong": "wrong",
    "accuracy_with": "with",
    "accuracy_without": "without",
    "accuracy_with_backtracking": "with",
    "accuracy_without_backtracking": "without",
    "gain_same_problem": "verifying or backtracking",
    "gain_backtracking": "backtracking",
}
CARE = ("arithmetic", "copying", "decorative")


def _both(names: Iterable[str]) -> list[Series]:
    """Of training completions as a line, of held-out ones as dots."""
    labels = {name: LABELS.get(name, name.replace("_", " ")) for name in names}
    return [
        series
        for name in labels
        for series in (
            Series(f"reflection/{name}", labels[name]),
            Series(f"eval_reflection/{name}", f"{labels[name]}, held out", DOTS),
        )
    ]


SECTIONS = [
    Section(
        "Learning",
        [
            Panel(
                "Accuracy",
                [
                    Series("reward/accuracy", "training"),
                    Series("eval/sampled", "held out, sampled", DOTS),
                    Series("eval/greedy", "held out, greedy", DOTS),
                ],
                "share",
                "bars: 95% intervals of held-out accuracy",
                first=1,
            ),
            Panel("Reward", [Series("reward/mean", "mean"), Series("reward/*", "")]),
            Panel(
                "Problems of a step, solved by",
                [
                    Series("solved/all", "all", STACK),
                    Series("solved/some", "some", STACK),
                    Series("solved/none", "none of a group's completions", STACK),
                ],
                "share",
                first=1,
            ),
            Panel("Tries a completion", [Series("rollout/tries", "training"), Series("eval/tries", "held out", DOTS)]),
            Panel("Tokens a completion", [Series("length/mean", "training"), Series("eval/length", "held out", DOTS)]),
            Panel("Cut at the token limit", [Series("length/truncated", "training")], "share"),
            Panel("Accuracy by task, held out", [Series("eval/*/accuracy", "", DOTS)], "share"),
        ],
    ),
    Section(
        "Reflection",
        [
            Panel("Behaviours, share of completions", _both(BEHAVIORS), "share"),
            Panel("Care and decoration", _both(CARE), "share"),
            Panel(
                "Tokens a completion, right and wrong",
                _both(("length_right", "length_wrong")),
            ),
            Panel("Accuracy with and without reflection", _both(("accuracy_with", "accuracy_without")), "share"),
            Panel(
                "Accuracy with and without backtracking",
                _both(("accuracy_with_backtracking", "accuracy_without_backtracking")),
                "share",
            ),
            Panel(
                "What it gains on the same problem",
                _both(("gain_same_problem", "gain_backtracking")),
                "share",
                "accuracy of a problem's completions that reflect, minus that of the others",
            ),
        ],
    ),
    Section(
        "The policy",
        [
            Panel("Entropy", [Series("policy/entropy", "nats a token")]),
            Panel("KL to the reference", [Series("policy/kl", "nats a token")]),
            Panel("Gradient norm", [Series("policy/grad_norm", "before clipping")]),
            Panel(
                "Clipped tokens",
                [Series("policy/clip_low", "at the lower bound"), Series("policy/clip_high", "at the upper bound")],
                "share",
            ),
            Panel(
                "Trainer against sampler",
                [
                    Series("mismatch/ratio_p99", "99th percentile"),
                    Series("mismatch/ratio_p50", "median"),
                    Series("mismatch/ratio_p01", "1st percentile"),
                ],
                "ratio",
                "mismatch ratio - 1: 0 is exact agreement",
            ),
            Panel("Tokens a second", [Series("rollout/tokens_per_second", "")]),
        ],
    ),
    Section(
        "Cost",
        [
            Panel(
                "Dollars", [Series("cost/usd", "so far"), Series("cost/usd_projected", "when all is done, projected")]
            ),
            Panel("Tokens per dollar", [Series("cost/tokens_per_usd", "")]),
            Panel("Energy", [Series("cost/kwh", "kWh")]),
        ],
    ),
]
PHASES = ("generate", "logprobs", "update", "weight_sync", "score")  # in this order, then what else was timed


def present_sections(names: Sequence[str]) -> list[dict[str, Any]]:
    """The sections with their panels and series that have data, ready for the page."""
    sections = []
    for section in SECTIONS:
        panels = [{**vars(panel), "series": _expand(panel, names)} for panel in section.panels]
        if kept := [panel for panel in panels if panel["series"]]:
            sections.append({"title": section.title, "panels": kept})
    return sections


def phases(names: Sequence[str]) -> list[str]:
    """The timed phases of a step; `time/step` is their whole."""
    timed = [name.removeprefix("time/") for name in names if name.startswith("time/") and name != "time/step"]
    return [name for name in PHASES if name in timed] + [name for name in timed if name not in PHASES]


# The same as accuracy, or shown elsewhere, or a count of failures that belongs to no curve of rewards.
NO_REWARD = ("reward/accuracy", "reward/correct", "reward/errors")


def _expand(panel: Panel, names: Sequence[str]) -> list[dict[str, str]]:
    taken = {series.metric for series in panel.series} | set(NO_REWARD)
    found: list[dict[str, str]] = []
    for series in panel.series:
        before, star, after = series.metric.partition("*")
        if not star:
            found += [dict(vars(series))] if series.metric in names else []
            continue
        for name in names:
            if name.startswith(before) and name.endswith(after) and name not in taken:
                label = name.removeprefix(before).removesuffix(after).replace("_", " ")
                found.append({"metric": name, "label": label, "style": series.style})
    return found

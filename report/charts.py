"""The charts of the report, by section. Metrics that no run has are omitted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from envs.behaviors import SHOWN

# How a series is drawn: a line (measured at each step), a line with dots (at evaluations), or stacked areas.
LINE, DOTS, STACK = "line", "dots", "stack"


@dataclass(frozen=True)
class Series:
    """A metric. `reward/*` stands for all metrics with this prefix that no other series of the chart names."""

    metric: str
    label: str
    style: str = LINE


@dataclass(frozen=True)
class Chart:
    """One chart.

    format  how values are shown: share (percent), number, or ratio (as its difference from 1)
    first   the metric that a comparison of runs shows first, if a run has it
    """

    title: str
    series: Sequence[Series]
    format: str = "number"
    note: str = ""
    first: str = ""


@dataclass(frozen=True)
class Section:
    title: str
    charts: Sequence[Chart]


LABELS = {
    "arithmetic": "true equations",
    "copying": "tries with the given numbers",
    "decorative": 'false "yes" verdicts',
    "length_right": "correct",
    "length_wrong": "wrong",
    "accuracy_with": "with",
    "accuracy_without": "without",
    "accuracy_with_backtracking": "with",
    "accuracy_without_backtracking": "without",
    "gain_same_problem": "verification or backtracking",
    "gain_backtracking": "backtracking",
}


def _both(names: Iterable[str]) -> list[Series]:
    """The series of reflection metrics: training completions as lines, held-out completions as dots."""
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
            Chart(
                "Accuracy",
                [
                    Series("reward/accuracy", "training"),
                    Series("eval/sampled", "held out, sampled", DOTS),
                    Series("eval/greedy", "held out, greedy", DOTS),
                ],
                "share",
                "Error bars: 95% confidence intervals of held-out accuracy.",
                first="eval/sampled",
            ),
            Chart("Loss", [Series("data/loss", "training"), Series("eval/loss", "held out", DOTS)], first="eval/loss"),
            Chart(
                "Reward",
                [
                    Series("reward/mean", "mean"),
                    Series("reward/*", ""),
                    Series("reward/equal_groups", "share of groups whose advantages are all 0"),
                ],
            ),
            Chart(
                "Solve rate of the prompts in a step",
                [
                    Series("solved/all", "all completions correct", STACK),
                    Series("solved/some", "some correct", STACK),
                    Series("solved/none", "none correct", STACK),
                ],
                "share",
                first="solved/some",
            ),
            Chart(
                "Tries per completion", [Series("rollout/tries", "training"), Series("eval/tries", "held out", DOTS)]
            ),
            Chart(
                "Tokens per completion", [Series("length/mean", "training"), Series("eval/length", "held out", DOTS)]
            ),
            Chart("Truncated at the token limit", [Series("length/truncated", "training")], "share"),
            Chart("Held-out accuracy by task", [Series("eval/*/accuracy", "", DOTS)], "share"),
        ],
    ),
    Section(
        "Reflection",
        [
            Chart("Behaviours (share of completions)", _both(SHOWN), "share"),
            Chart("Correctness of the reasoning", _both(("arithmetic", "copying", "decorative")), "share"),
            Chart("Thoughts with words in two scripts or more", _both(("mixed_scripts",)), "share"),
            Chart("Tokens per correct and per wrong completion", _both(("length_right", "length_wrong"))),
            Chart("Accuracy with and without reflection", _both(("accuracy_with", "accuracy_without")), "share"),
            Chart(
                "Accuracy with and without backtracking",
                _both(("accuracy_with_backtracking", "accuracy_without_backtracking")),
                "share",
            ),
            Chart(
                "Accuracy gain on the same problem",
                _both(("gain_same_problem", "gain_backtracking")),
                "share",
                "Accuracy of the completions that show the behaviour minus that of the others, averaged over problems.",
            ),
        ],
    ),
    Section(
        "Policy",
        [
            Chart("Entropy", [Series("policy/entropy", "nats per token")]),
            Chart("KL to the reference policy", [Series("policy/kl", "nats per token")]),
            Chart("Gradient norm", [Series("policy/grad_norm", "before clipping")]),
            Chart(
                "Clipped tokens",
                [Series("policy/clip_low", "at the lower bound"), Series("policy/clip_high", "at the upper bound")],
                "share",
            ),
            Chart(
                "Probability ratio of trainer and sampler",
                [
                    Series("mismatch/ratio_p99", "99th percentile"),
                    Series("mismatch/ratio_p50", "median"),
                    Series("mismatch/ratio_p01", "1st percentile"),
                ],
                "ratio",
                "Shown as ratio - 1, so 0 means exact agreement.",
            ),
            Chart("Tokens per second", [Series("rollout/tokens_per_second", "")]),
        ],
    ),
    Section(
        "Cost",
        [
            Chart(
                "Dollars", [Series("cost/usd", "so far"), Series("cost/usd_projected", "projected for the whole run")]
            ),
            Chart("Tokens per dollar", [Series("cost/tokens_per_usd", "")]),
            Chart("Energy", [Series("cost/kwh", "kWh")]),
        ],
    ),
]
PHASES = ("generate", "logprobs", "update", "weight_sync", "score")  # their order in the chart; others follow


def present_sections(names: Sequence[str]) -> list[dict[str, Any]]:
    """The sections, charts and series that have data, as JSON values for the page."""
    sections = []
    for section in SECTIONS:
        charts = [{**vars(chart), "series": _expand(chart, names)} for chart in section.charts]
        if kept := [chart for chart in charts if chart["series"]]:
            sections.append({"title": section.title, "charts": kept})
    return sections


def phases(names: Sequence[str]) -> list[str]:
    """The names of the timed phases of a step, without `time/step`, the duration of the whole step."""
    timed = [name.removeprefix("time/") for name in names if name.startswith("time/") and name != "time/step"]
    return [name for name in PHASES if name in timed] + [name for name in timed if name not in PHASES]


# Metrics that match reward/* but are not rewards: two names of the accuracy, and a count of errors.
NOT_REWARDS = ("reward/accuracy", "reward/correct", "reward/errors")


def _expand(chart: Chart, names: Sequence[str]) -> list[dict[str, str]]:
    """The series of a chart that have data, with `*` replaced by the matching metrics."""
    taken = {series.metric for series in chart.series} | set(NOT_REWARDS)
    found: list[dict[str, str]] = []
    for series in chart.series:
        before, star, after = series.metric.partition("*")
        if not star:
            found += [dict(vars(series))] if series.metric in names else []
            continue
        for name in names:
            if name.startswith(before) and name.endswith(after) and name not in taken:
                label = name.removeprefix(before).removesuffix(after).replace("_", " ")
                found.append({"metric": name, "label": label, "style": series.style})
    return found

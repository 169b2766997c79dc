"""A workspace in Weights & Biases that shows a run as this project sees it: the aha first, then group by group.

    python -m run.trackers.workspace --entity ME --project ahazero

It is saved as a view of the project and printed as an address; every run of the project shows in it.
Needs an account, and the package wandb-workspaces."""

import argparse
import importlib.util
import sys
from typing import Any

NAME = "AhaZero"
EVENTS = ("aha", "alert")
SAMPLES = ("eval", "eval_greedy", "train")
# What shows that the model has begun to think longer and better: (title, metrics of one chart).
AHA: tuple[tuple[str, tuple[str, ...] | str], ...] = (
    ("accuracy, held out", ("eval/sampled", "eval/greedy")),
    ("tries a completion", ("rollout/tries", "eval/tries")),
    ("tokens a completion", ("length/mean", "eval/length")),
    ("reflection", "^(reflection|eval_reflection)/.*"),
)
# Group by group, the charts; a regular expression where the names depend on the run.
GROUPS: dict[str, tuple[tuple[str, ...] | str, ...]] = {
    "reward": (("reward/mean",), ("reward/accuracy",), ("reward/errors",), "^reward/.*"),
    "solved": (("solved/none", "solved/some", "solved/all"),),
    "length": (("length/mean", "length/max"), ("length/truncated",)),
    "reflection": ("^reflection/.*",),
    "eval": (("eval/sampled", "eval/greedy"), ("eval/tries",), ("eval/length",), ("eval/errors",)),
    "eval_reflection": ("^eval_reflection/.*",),
    "policy": (
        ("policy/loss",),
        ("policy/entropy",),
        ("policy/kl",),
        ("policy/grad_norm",),
        ("policy/policy_ratio",),
        ("policy/clip_low", "policy/clip_high"),
        ("policy/lr",),
        ("policy/skipped",),
    ),
    "mismatch": (("mismatch/ratio_p01", "mismatch/ratio_p50", "mismatch/ratio_p99"), ("mismatch/max_gap",)),
    "rollout": (("rollout/tokens",), ("rollout/tokens_per_second",)),
    "time": ("^time/.*",),
    "cost": (("cost/usd", "cost/usd_projected"), ("cost/tokens_per_usd",), ("cost/seconds",), ("cost/kwh",)),
    "memory": ("^memory/.*",),
    "env": ("^env/.*",),
    "weights": (("weights/version",),),
}
PINNED = ("summary:eval/sampled.last", "summary:eval/sampled.max", "summary:reward/mean.last", "config:seed")


def build(entity: str, project: str) -> Any:
    """The Workspace object, not yet saved."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    def chart(metrics: tuple[str, ...] | str, title: str | None = None) -> Any:
        if isinstance(metrics, str):
            return reports.LinePlot(title=title or metrics, x="step", metric_regex=metrics)
        return reports.LinePlot(title=title or ", ".join(metrics), x="step", y=list(metrics))

    def tables(group: str, names: tuple[str, ...]) -> list[Any]:
        return [reports.WeavePanelSummaryTable(table_name=f"{group}/{name}") for name in names]

    aha = [chart(metrics, title) for title, metrics in AHA] + tables("events", EVENTS)
    sections = [workspaces.Section(name="aha", panels=aha, is_open=True, pinned=True)]
    for group, charts in GROUPS.items():
        panels = [chart(metrics) for metrics in charts]
        sections.append(workspaces.Section(name=group, panels=panels, is_open=group == "reward"))
    sections.append(workspaces.Section(name="samples", panels=tables("samples", SAMPLES)))
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="step", group_by_prefix="first"),
        runset_settings=workspaces.RunsetSettings(pinned_columns=list(PINNED)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Save a workspace for the runs of a wandb project.")
    parser.add_argument("--entity", required=True, help="the user or team that the project belongs to")
    parser.add_argument("--project", default="ahazero")
    arguments = parser.parse_args()
    if importlib.util.find_spec("wandb_workspaces") is None:
        sys.exit("error: this needs a library that is missing; install it: pip install wandb-workspaces")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        sys.exit("error: this needs a wandb account; run `wandb login` first")
    print(build(arguments.entity, arguments.project).save().url)


if __name__ == "__main__":
    main()

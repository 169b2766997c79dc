"""Create a Weights & Biases workspace for AhaZero runs: the aha panels first, then one section per metric group.

    python -m run.trackers.workspace --entity ME --project ahazero

The workspace is saved as a view of the project that shows all of its runs, and its URL is printed. Requires a wandb
account and the package wandb-workspaces."""

import argparse
import importlib.util
import sys
from typing import Any

NAME = "AhaZero"
EVENTS = ("aha", "alert")
SAMPLES = ("eval", "eval_greedy", "train")
# Charts that show whether the model learns to think longer and better: (title, metrics of one chart).
AHA: tuple[tuple[str, tuple[str, ...] | str], ...] = (
    ("held-out accuracy", ("eval/sampled", "eval/greedy")),
    ("tries per completion", ("rollout/tries", "eval/tries")),
    ("tokens per completion", ("length/mean", "eval/length")),
    ("reflection", "^(reflection|eval_reflection)/.*"),
)
# The charts of each metric group; a string is a regular expression, for groups whose metrics depend on the run.
GROUPS: dict[str, tuple[tuple[str, ...] | str, ...]] = {
    "reward": (("reward/mean",), ("reward/accuracy",), ("reward/errors",), "^reward/.*"),
    "solved": (("solved/none", "solved/some", "solved/all"),),
    "length": (("length/mean", "length/max"), ("length/truncated",)),
    "reflection": ("^reflection/.*",),
    "eval": (("eval/sampled", "eval/greedy"), ("eval/tries",), ("eval/length",), ("eval/errors",), ("eval/loss",)),
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
    "data": (("data/loss",), ("data/tokens", "data/examples"), ("data/epoch",)),
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
    parser.add_argument("--entity", required=True, help="the user or team that owns the project")
    parser.add_argument("--project", default="ahazero")
    arguments = parser.parse_args()
    if importlib.util.find_spec("wandb_workspaces") is None:
        sys.exit("error: a library is missing; install it: pip install wandb-workspaces")
    import wandb

    if not wandb.login(prompt=False, verify=False):
        sys.exit("error: this command requires a wandb account; run `wandb login` first")
    print(build(arguments.entity, arguments.project).save().url)


if __name__ == "__main__":
    main()

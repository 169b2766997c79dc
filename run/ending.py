"""What a run says before its first step and after its last."""

import json
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from run.folder import RunFolder
from run.monitor import transcripts


def print_start(console: Console, cfg: Any, folder: RunFolder) -> None:
    """The derived numbers of a run (`cfg` is a Config)."""
    algorithm = cfg.algorithm
    most = algorithm.num_completions * cfg.model.max_completion_tokens
    kl, tokens = algorithm.kl, f", or {cfg.num_tokens:,} tokens" if cfg.num_tokens else ""
    reference = f"KL {kl.coef} to a reference, in the {kl.apply_to}" if algorithm.uses_reference else "no reference"
    lines = [
        f"{cfg.model.name} ({cfg.model.source}) on {cfg.env.name}, {algorithm.name}, {reference}",
        f"a step: {algorithm.num_prompts} problems x {algorithm.group_size} completions = "
        f"{algorithm.num_completions} completions, at most {most:,} tokens, {algorithm.num_updates} updates of "
        f"{algorithm.num_completions // algorithm.num_minibatches} completions",
        f"{cfg.num_steps} steps: {cfg.num_steps * algorithm.num_completions:,} completions{tokens}; "
        f"held out: {cfg.evaluation.num_problems} problems",
        f"outputs: {folder.path}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False)


def print_end(console: Console, folder: RunFolder) -> None:
    """Accuracy before and after, three transcripts, and where the outputs lie."""
    summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    before, after = summary["accuracy"]["step0"], summary["accuracy"]["final"]
    table = Table(title=f"held-out accuracy over {after['n']} problems (exact correctness)")
    for name in ("", "step 0", f"step {summary['steps']}"):
        table.add_column(name)
    for kind in ("sampled", "greedy"):
        table.add_row(kind, f"{before[kind]:.1%}", f"{after[kind]:.1%}")
    for kind in ("tries", "length"):
        if kind in summary:
            table.add_row(f"{kind} a completion", f"{summary[kind]['step0']:.1f}", f"{summary[kind]['final']:.1f}")
    console.print(table)
    console.print("\nThree held-out problems, failed before and solved after where there are such:")
    for prompt, old, new in transcripts(folder.samples, summary["steps"]):
        console.print(Text(f"\n{prompt.strip()}", style="bold"))
        console.print(Columns([Panel(Text(old), title="step 0"), Panel(Text(new), title=f"step {summary['steps']}")]))
    minutes = summary["seconds"] / 60
    console.print(
        f"{summary['steps']} steps, {summary['tokens']:,} tokens in {minutes:.1f} minutes; outputs: {folder.path}",
        highlight=False,
    )

"""A run on the terminal: its settings, a live view (or plain lines) during training, and its results."""

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from envs.printable import printable
from run.cost import Progress, dollars
from run.files import read_json, read_rows
from run.folder import RunFolder

if TYPE_CHECKING:
    from conf.schema import Config

BARS = "▁▂▃▄▅▆▇█"
CURVES = [
    ("reward", "reward/mean", "{:.3f}"),
    ("training accuracy", "reward/accuracy", "{:.1%}"),
    ("training loss", "data/loss", "{:.4f}"),
    ("held-out loss", "eval/loss", "{:.4f}"),
    ("held-out accuracy", "eval/sampled", "{:.1%}"),
    ("tries per completion", "rollout/tries", "{:.2f}"),
    ("tokens per completion", "length/mean", "{:.1f}"),
    ("tokens/s", "rollout/tokens_per_second", "{:,.0f}"),
]
TRANSCRIPTS = 3
LINE_SECONDS = 1.0  # at least, between the lines of training steps, of which a supervised run makes thousands
SPARKLINE = 40  # values
OUTSIDE_STEP = {"evaluate", "checkpoint", "monitor"}  # phases that are not part of the training step


class Terminal:
    """Shows a run while it trains. Use it as a context manager and call `show` after each step."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress, self.console = progress, console
        self.values: dict[str, deque[float]] = {name: deque(maxlen=SPARKLINE) for _, name, _ in CURVES}
        self.last_step: Mapping[str, Any] = {}
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.sample = ""
        self.step_shown = -math.inf

    def __enter__(self) -> "Terminal":
        if self.live:
            self.live.start()
            self._refresh()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live:
            self.live.stop()

    def say(self, message: str) -> None:
        self.console.print(printable(message), markup=False, highlight=False, soft_wrap=True)

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Remember a line of metrics.jsonl for the curves, without showing it."""
        for name, values in self.values.items():
            if name in metrics:
                values.append(metrics[name])
        if "time/step" in metrics:
            self.last_step = metrics

    def show(self, step: int, metrics: Mapping[str, Any], sample: str = "") -> None:
        """Show a finished step or evaluation; `sample` is the prompt and completion to display beside it."""
        self.add(metrics)
        self.sample = printable(sample) or self.sample
        if self.live:
            self._refresh()
        elif "time/step" not in metrics or self._is_due():
            values = [f"{label} {fmt.format(metrics[name])}" for label, name, fmt in CURVES if name in metrics]
            head = f"[{time.strftime('%H:%M:%S')}] {self.progress.step_label(step)}"
            self.say("  ".join([head, *values, *self._time_left()]))

    def _is_due(self) -> bool:
        """Whether the line of a training step is printed."""
        now = time.monotonic()
        due = now - self.step_shown >= LINE_SECONDS
        self.step_shown = now if due else self.step_shown
        return due

    def _refresh(self) -> None:
        assert self.live is not None
        self.live.update(self._screen(), refresh=True)

    def _screen(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for label, name, fmt in CURVES:
            if values := self.values[name]:  # the task may have no trace language; only a supervised run has losses
                last = fmt.format(values[-1])
                table.add_row(Text(label, style="dim"), Text(last, style="bold"), Text(sparkline(values), style="cyan"))
        progress = Table.grid(padding=(0, 2))
        label = self.progress.step_label(self.progress.steps)
        progress.add_row(label, ProgressBar(1.0, self.progress.share, width=40), *self._time_left())
        parts: list[RenderableType] = [progress, table, Text(last_step_facts(self.last_step), style="dim")]
        if self.sample:
            parts.append(Panel(Text(self.sample), title="training sample", title_align="left", border_style="dim"))
        return Stack(*parts)

    def _time_left(self) -> list[str]:
        left = self.progress.seconds_left
        return [] if left is None else [f"{left / 60:.1f} min left"]


def last_step_facts(last: Mapping[str, Any]) -> str:
    """One line on the last training step: its duration and longest phases, memory, dollars so far and projected."""
    if not last:
        return ""
    phases = {name.removeprefix("time/"): value for name, value in last.items() if name.startswith("time/")}
    step = phases.pop("step")
    longest = sorted(phases.keys() - OUTSIDE_STEP, key=lambda name: (-phases[name], name))[:4]
    parts = [f"{step:.1f} s per step: " + ", ".join(f"{name} {phases[name]:.1f}" for name in longest)]
    if "policy/gpu_gb" in last:
        parts.append(f"{last['policy/gpu_gb']:.1f} GB of GPU memory")
    parts.append(f"{last['memory/resident_gb']:.1f} GB of memory")
    if last.get("cost/usd"):
        parts.append(f"${dollars(last['cost/usd'])} so far, ${dollars(last['cost/usd_projected'])} projected in total")
    return "   ".join(parts)


def sparkline(values: Iterable[float]) -> str:
    """The finite values as bars, scaled between their minimum and maximum."""
    shown = [value for value in values if math.isfinite(value)]
    if not shown:
        return ""
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BARS[int((value - low) / span * (len(BARS) - 1))] for value in shown)


def print_start(console: Console, cfg: "Config", folder: RunFolder) -> None:
    """Print the model, task and algorithm of a run, and the numbers that follow from its settings."""
    algorithm = cfg.algorithm
    max_tokens = algorithm.num_completions * cfg.model.max_completion_tokens
    kl, token_limit = algorithm.kl, f", or until {cfg.num_tokens:,} tokens" if cfg.num_tokens else ""
    reference = f"KL penalty {kl.coef} in the {kl.apply_to}" if algorithm.uses_reference else "no reference policy"
    lines = [
        f"{cfg.model.name} ({cfg.model.source}) on {cfg.env.name}, {algorithm.name}, {reference}",
        f"per step: {algorithm.num_prompts} prompts x {algorithm.group_size} completions = "
        f"{algorithm.num_completions} completions, at most {max_tokens:,} tokens; optimizer updates: "
        f"{algorithm.num_updates} ({algorithm.num_completions // algorithm.num_minibatches} completions each)",
        f"in total: {cfg.num_steps} steps, {cfg.num_steps * algorithm.num_completions:,} completions{token_limit}; "
        f"held-out problems: {cfg.evaluation.num_problems}",
        f"outputs: {folder.path}",
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def print_end(console: Console, folder: RunFolder) -> None:
    """Print held-out accuracy at step 0 and at the end, up to three pairs of transcripts, and the output folder."""
    summary = read_json(folder.summary, "run the same command again to write it", ("steps", "tokens", "seconds"))
    table = Table()
    if "accuracy" in summary:
        before, after = summary["accuracy"]["step0"], summary["accuracy"]["final"]
        table.title = f"accuracy on {after['n']} held-out problems (exact correctness)"
    for name in ("", "step 0", f"step {summary['steps']}"):
        table.add_column(name)
    for kind in ("sampled", "greedy") if "accuracy" in summary else ():
        table.add_row(kind, f"{before[kind]:.1%}", f"{after[kind]:.1%}")
    rows = (("tries per completion", "tries"), ("tokens per completion", "length"), ("held-out loss", "loss"))
    for label, kind in rows:
        if kind in summary:
            form = ".4f" if kind == "loss" else ".1f"
            table.add_row(label, f"{summary[kind]['step0']:{form}}", f"{summary[kind]['final']:{form}}")
    console.print(table)
    shown = transcripts(folder.samples, summary["steps"])
    if shown:
        console.print("\nHeld-out problems before and after training, newly solved ones first:")
    for prompt, old, new in shown:
        console.print(Text(f"\n{prompt.strip()}", style="bold"))
        console.print(Columns([Panel(Text(old), title="step 0"), Panel(Text(new), title=f"step {summary['steps']}")]))
    minutes = summary["seconds"] / 60
    console.print(
        f"{summary['steps']} steps, {summary['tokens']:,} tokens in {minutes:.1f} minutes; outputs: {folder.path}",
        highlight=False,
    )


def transcripts(samples: Path, last_step: int) -> list[tuple[str, str, str]]:
    """(prompt, completion at step 0, completion at `last_step`) of up to three held-out problems in the order of
    the evaluation; problems that were failed at step 0 and are solved at `last_step` come first."""
    by_step: dict[int, dict[str, dict[str, Any]]] = {0: {}, last_step: {}}
    for row in read_rows(samples) if samples.is_file() else ():
        if row["kind"] == "eval" and row["step"] in by_step:
            by_step[row["step"]][row["key"]] = row
    before, after = by_step[0], by_step[last_step]
    shared = [key for key in before if key in after]
    shared.sort(key=lambda key: before[key]["correct"] or not after[key]["correct"])
    shown = [(after[key]["prompt"], before[key]["completion"], after[key]["completion"]) for key in shared]
    return [(printable(prompt), printable(old), printable(new)) for prompt, old, new in shown[:TRANSCRIPTS]]

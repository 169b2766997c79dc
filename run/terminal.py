"""The run on the terminal: a live view on a screen, plain lines elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from run.progress import Progress

BARS = "▁▂▃▄▅▆▇█"
CURVES = [
    ("reward", "reward/mean", "{:.3f}"),
    ("accuracy, training", "reward/accuracy", "{:.1%}"),
    ("accuracy, held out", "eval/sampled", "{:.1%}"),
    ("tries a completion", "rollout/tries", "{:.2f}"),
    ("tokens a completion", "length/mean", "{:.1f}"),
    ("tokens/s", "rollout/tokens_per_second", "{:,.0f}"),
]


class Terminal:
    """Shows a run while it goes. Use as a context manager; `show` after each step."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self.progress, self.console = progress, console
        self.rows: list[Mapping[str, Any]] = []
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.sample = ""

    def __enter__(self) -> "Terminal":
        if self.live:
            self.live.start()
            self._refresh()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.live:
            self.live.stop()

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def show(self, step: int, metrics: Mapping[str, Any], sample: str = "") -> None:
        """A finished step or evaluation; `sample` is a completion worth a look."""
        self.rows.append({"step": step, **metrics})
        self.sample = sample or self.sample
        if self.live:
            self._refresh()
        else:
            values = [f"{label} {fmt.format(metrics[name])}" for label, name, fmt in CURVES if name in metrics]
            place = self.progress.place(step)
            self.say("  ".join([f"[{time.strftime('%H:%M:%S')}] {place}", *values, *self._time_left()]))

    def _refresh(self) -> None:
        assert self.live is not None
        self.live.update(self._screen(), refresh=True)

    def _screen(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for label, name, fmt in CURVES:
            values = [row[name] for row in self.rows if name in row]
            if not values and name == "rollout/tries":
                continue  # the task has no trace language
            last = fmt.format(values[-1]) if values else "-"
            table.add_row(Text(label, style="dim"), Text(last, style="bold"), Text(sparkline(values), style="cyan"))
        progress = Table.grid(padding=(0, 2))
        place = self.progress.place(len(self.progress.step_seconds))
        progress.add_row(place, ProgressBar(1.0, self.progress.share, width=40), *self._time_left())
        parts: list[RenderableType] = [progress, table, Text(facts(self.rows), style="dim")]
        if self.sample:
            parts.append(Panel(Text(self.sample), title="a training sample", title_align="left", border_style="dim"))
        return Group(*parts)

    def _time_left(self) -> list[str]:
        left = self.progress.seconds_left
        return [] if left is None else [f"{left / 60:.1f} min left"]


def facts(rows: Sequence[Mapping[str, Any]]) -> str:
    """The last step in a line: seconds by phase, memory, dollars so far and at the end."""
    last = next((row for row in reversed(rows) if "time/step" in row), None)
    if last is None:
        return ""
    phases = {name.removeprefix("time/"): value for name, value in last.items() if name.startswith("time/")}
    step = phases.pop("step")
    longest = sorted(phases.items(), key=lambda item: -item[1])[:4]
    said = [f"{step:.1f} s a step: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest)]
    if "policy/gpu_gb" in last:
        said.append(f"{last['policy/gpu_gb']:.1f} GB of the GPU")
    said.append(f"{last['memory/resident_gb']:.1f} GB of memory")
    if last.get("cost/usd"):
        said.append(f"${last['cost/usd']:.2f} so far, ${last['cost/usd_projected']:.2f} in all")
    return "   ".join(said)


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The last `width` values as bars between their least and their greatest."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BARS[int((value - low) / span * (len(BARS) - 1))] for value in shown)

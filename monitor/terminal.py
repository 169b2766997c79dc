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
    """Shows a run while it goes, to its `num_steps` or its `num_tokens`, whichever it reaches first. Use
    as a context manager; `show` after each step."""

    def __init__(self, num_steps: int, console: Console, num_tokens: int | None = None) -> None:
        self.num_steps, self.num_tokens, self.console = num_steps, num_tokens, console
        self.rows: list[dict[str, Any]] = []
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
        self.console.print(message, markup=False, highlight=False)

    def show(self, step: int, metrics: Mapping[str, Any], sample: str = "") -> None:
        """A finished step or evaluation; `sample` is a completion worth a look."""
        self.rows.append({"step": step, **metrics})
        self.sample = sample or self.sample
        if self.live:
            self._refresh()
        else:
            values = [f"{label} {fmt.format(metrics[name])}" for label, name, fmt in CURVES if name in metrics]
            self.say(f"[{time.strftime('%H:%M:%S')}] {self._place(step)}  " + "  ".join(values) + self._eta())

    def _refresh(self) -> None:
        assert self.live is not None
        self.live.update(self._screen(), refresh=True)

    def _screen(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for label, name, fmt in CURVES:
            values = [row[name] for row in self.rows if name in row]
            last = fmt.format(values[-1]) if values else "-"
            table.add_row(Text(label, style="dim"), Text(last, style="bold"), Text(sparkline(values), style="cyan"))
        done = sum("time/step" in row for row in self.rows)
        progress = Table.grid(padding=(0, 2))
        progress.add_row(self._place(done), ProgressBar(1.0, self._share_done(), width=40), self._eta())
        parts: list[RenderableType] = [progress, table]
        if self.sample:
            parts.append(Panel(Text(self.sample), title="a training sample", title_align="left", border_style="dim"))
        return Group(*parts)

    def _place(self, step: int) -> str:
        if self.num_tokens is None:
            return f"step {step}/{self.num_steps}"
        return f"step {step}, {self._tokens():,}/{self.num_tokens:,} tokens"

    def _tokens(self) -> int:
        return int(sum(row.get("rollout/tokens", 0) for row in self.rows))

    def _share_done(self) -> float:
        by_steps = sum("time/step" in row for row in self.rows) / self.num_steps
        return min(1.0, max(by_steps, self._tokens() / self.num_tokens if self.num_tokens else 0.0))

    def _eta(self) -> str:
        seconds = [row["time/step"] for row in self.rows if "time/step" in row]
        share = self._share_done()
        if not seconds or share == 1:
            return ""
        recent = seconds[-10:]
        left = len(seconds) * (1 - share) / share
        return f"  {left * sum(recent) / len(recent) / 60:.1f} min left"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The last `width` values as bars between their least and their greatest."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BARS[int((value - low) / span * (len(BARS) - 1))] for value in shown)

"""TensorBoard: event files in the run folder."""

from collections.abc import Mapping, Sequence
from typing import Any

from run.folder import flatten
from run.trackers.base import RunInfo, event_text, finite_numbers

MAX_SAMPLES = 16  # per step and kind; TensorBoard shows the text of a step as one page


class TensorboardTracker:
    """Writes scalars and texts, and the settings with the final results for the hparams tab."""

    def __init__(self, info: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = info.folder / "tensorboard"
        self.config = flatten(info.config)
        self.writer = SummaryWriter(str(self.folder))
        if not info.started:
            settings = "\n".join(f"    {name}: {value}" for name, value in self.config.items())
            self._text("config", settings, 0)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        for name, value in finite_numbers(metrics).items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._text(f"samples/{kind}", "\n\n---\n\n".join(as_code(row) for row in rows[:MAX_SAMPLES]), step)

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        self._text(f"events/{event['kind']}", f"**{event['name']}**: {event_text(event)}", step)

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        if summary is not None:
            settings = {name: v if isinstance(v, int | float | str) else str(v) for name, v in self.config.items()}
            results = finite_numbers({f"summary/{name}": value for name, value in flatten(summary).items()})
            self.writer.add_hparams(settings, results, run_name=".")
        self.writer.close()
        return f"to view the run: tensorboard --logdir {self.folder}"

    def _text(self, tag: str, text: str, step: int) -> None:
        self.writer.add_text(tag, text, step)
        self.writer.flush()


def as_code(row: Mapping[str, Any]) -> str:
    """A sample, indented so that Markdown shows it verbatim."""
    head = f"{row.get('key')}, reward {row.get('reward')}, {row.get('reason')}"
    lines = f"{head}\n\n{row.get('prompt', '')}{row.get('completion', '')}".splitlines()
    return "\n".join(f"    {line}" for line in lines)

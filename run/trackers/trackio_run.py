"""Trackio: the interface of wandb over a local SQLite file. No server is started here; `trackio show` starts one."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from run.folder import flatten
from run.trackers.base import RunInfo, as_table, event_text, finite_numbers


class TrackioTracker:
    """A trackio run in the user's trackio folder, next to the other runs of the project.

    Trackio writes from its own thread with a delay of half a second, and reports write errors itself."""

    def __init__(self, info: RunInfo) -> None:
        import trackio

        self.trackio, self.project, self.last_step = trackio, info.project, 0
        with _quiet():
            self.run = trackio.init(
                project=info.project,
                name=info.name,
                group=info.group,
                config=flatten(info.config) | {f"tag.{key}": value for key, value in info.tags.items()},
                # Trackio identifies a run by its name, so only a resumed run may continue an existing one.
                resume="allow" if info.started else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self._log(step, finite_numbers(metrics))

    def log_samples(self, step: int, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns, cells = as_table(rows)
        self._log(step, {f"samples/{kind}": self.trackio.Table(columns=columns, data=cells)})

    def log_event(self, step: int, event: Mapping[str, Any]) -> None:
        level = self.trackio.AlertLevel.WARN if event["kind"] == "alert" else self.trackio.AlertLevel.INFO
        with _quiet():
            self.run.alert(event["name"], event_text(event), level, step)
        self._log(step, {f"events/{event['kind']}": self.trackio.Markdown(f"{event['name']}: {event_text(event)}")})

    def close(self, summary: Mapping[str, Any] | None = None) -> str:
        if summary is not None:
            results = {f"summary/{name}": value for name, value in flatten(summary).items()}
            self._log(self.last_step, finite_numbers(results))
        with _quiet():
            self.trackio.finish()
        return f"to view the run: trackio show --project {self.project}"

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        self.last_step = step
        self.run.log(dict(values), step)


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """Suppress the output of trackio, which would break the live view on the terminal."""
    return contextlib.redirect_stdout(io.StringIO())

"""The list of a pipeline's stages before anything starts: how far each is, and what it will cost."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from pipelines.ledger import Ledger

UNKNOWN = "?"


def list_stages(ledger: Ledger, expected: Mapping[str, float], usd_per_hour: float, source: str) -> Table:
    """A table of the stages with measured minutes of the finished ones and expected minutes of the others.

    expected      minutes by stage; a stage without an estimate is shown with a question mark
    usd_per_hour  price of the machine
    source        where the expected minutes come from
    """
    table = Table(title=f"minutes of stages that have not finished: {source}", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "kind", "arm", "state"):
        table.add_column(heading, no_wrap=heading != "arm")
    for heading in ("minutes", "$"):
        table.add_column(heading, justify="right", no_wrap=True)
    total, is_complete = 0.0, True
    for name, stage in ledger.pipeline.stages.items():
        minutes = ledger.records[name].seconds / 60 if ledger.is_finished(name) else expected.get(name)
        total, is_complete = total + (minutes or 0.0), is_complete and minutes is not None
        table.add_row(name, stage.kind, stage.arm, ledger.state(name), *_figures(minutes, usd_per_hour))
    table.add_section()
    label = "total" if is_complete else "total, without ?"
    table.add_row(label, "", "", "", *_figures(total, usd_per_hour))
    return table


def _figures(minutes: float | None, usd_per_hour: float) -> tuple[str, str]:
    if minutes is None:
        return UNKNOWN, UNKNOWN
    return f"{minutes:.1f}", f"{minutes / 60 * usd_per_hour:.2f}"

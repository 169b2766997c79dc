"""The result of a check, and how it is printed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.doctor.facts import Unknown

OK, WARNING, ERROR, SKIPPED = "ok", "warning", "error", "skipped"
STYLES = {OK: "green", WARNING: "yellow", ERROR: "bold red", SKIPPED: "dim"}


@dataclass(frozen=True)
class Finding:
    """saw: the facts in a few words; do: what the user can do, as a command if there is one."""

    level: str
    saw: str
    do: str = ""


Checked = tuple[str, Finding]


def check(name: str, judge: Callable[..., Finding], *facts: Any) -> Checked:
    """Apply `judge` to the facts. A check whose facts are unknown is skipped, with the reason."""
    for fact in facts:
        if isinstance(fact, Unknown):
            return name, Finding(SKIPPED, f"cannot be checked: {fact.why}")
    return name, judge(*facts)


def show(console: Console, groups: Mapping[str, Sequence[Checked]]) -> None:
    """Print one line per finding, and below it what to do."""
    for group, checked in groups.items():
        console.print(Text(group, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=8)
        table.add_column(width=14)
        table.add_column(overflow="fold")
        for name, finding in checked:
            text = Text(finding.saw)
            if finding.do:
                text.append(f"\n-> {finding.do}", style="cyan")
            table.add_row(Text(f" {finding.level}", style=STYLES[finding.level]), name, text)
        console.print(table)


def count(groups: Mapping[str, Sequence[Checked]], level: str) -> int:
    return sum(finding.level == level for checked in groups.values() for _, finding in checked)

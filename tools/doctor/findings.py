"""What a check found, and how it is shown."""

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
    """saw: the facts in a few words; do: what to do about them, a command where there is one."""

    level: str
    saw: str
    do: str = ""


Checked = tuple[str, Finding]


def check(name: str, judge: Callable[..., Finding], *facts: Any) -> Checked:
    """The judgement by its name; a fact that is not known makes it a check that can't be made."""
    for fact in facts:
        if isinstance(fact, Unknown):
            return name, Finding(SKIPPED, f"can't be checked: {fact.why}")
    return name, judge(*facts)


def show(console: Console, groups: Mapping[str, Sequence[Checked]]) -> None:
    """A line a finding, and one below it where something is to be done."""
    for group, checked in groups.items():
        console.print(Text(group, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=8)
        table.add_column(width=14)
        table.add_column(overflow="fold")
        for name, finding in checked:
            said = Text(finding.saw)
            if finding.do:
                said.append(f"\n-> {finding.do}", style="cyan")
            table.add_row(Text(f" {finding.level}", style=STYLES[finding.level]), name, said)
        console.print(table)


def count(groups: Mapping[str, Sequence[Checked]], level: str) -> int:
    return sum(finding.level == level for checked in groups.values() for _, finding in checked)

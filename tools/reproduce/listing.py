"""Tables for the terminal: what will run, and the verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from conf.reproduce import ClaimConfig
from pipelines.graph import selected
from pipelines.ledger import Ledger
from run.cost import Price
from tools.reproduce.words import bound_of, effect_text, interval_text, number_text

UNKNOWN = "?"


def list_runs(claims: Mapping[str, ClaimConfig], ledgers: Sequence[Ledger], price: Price) -> Table:
    """The stages of all seeds, with the claims that need each, how many have finished, and what is left to run."""
    first = ledgers[0].pipeline
    users: dict[str, list[str]] = {name: [] for name in first.stages}
    for claim in claims.values():
        for name in selected(first.stages, claim.stages):
            users[name].append(str(claim.number))
    table = Table(
        title=f"{len(ledgers)} seeds; minutes on two quiet CPU cores; ${price.usd_per_hour:g} per hour, "
        f"{price.watts:g} W",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("stage", "kind", "for claims", "finished"):
        table.add_column(heading, no_wrap=heading != "for claims")
    for heading in ("minutes left", "$", "kWh"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = 0.0
    for name, stage in first.stages.items():
        left = sum(not ledger.is_finished(name) for ledger in ledgers)
        minutes = first.minutes(name)
        total += (minutes or 0.0) * left
        done = f"{len(ledgers) - left} of {len(ledgers)}"
        table.add_row(name, stage.kind, ", ".join(users[name]), done, *_cost(minutes, left, price))
    table.add_section()
    table.add_row("total", "", "", "", *_cost(total, 1, price))
    for claim in claims.values():
        own = selected(first.stages, claim.stages)
        minutes = sum((first.minutes(name) or 0.0) for name in own for each in ledgers if not each.is_finished(name))
        table.add_row(f"claim {claim.number} alone", "", claim.title, "", *_cost(minutes, 1, price))
    return table


def list_verdicts(results: Mapping[str, Any]) -> Table:
    """The verdict on each claim, with the effects that decided it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "claim", "effect", "interval", "at least", "verdict"):
        table.add_column(heading, no_wrap=heading != "claim")
    for claim in results["claims"].values():
        table.add_row(str(claim["number"]), claim["title"], "", "", "", claim["verdict"], style="bold")
        for comparison in claim["comparisons"]:
            if comparison["at_least"] is not None and comparison["effect"] is not None:
                bound = number_text(comparison, bound_of(comparison))
                cells = [effect_text(comparison), interval_text(comparison), bound]
                table.add_row("", comparison["label"], *cells, comparison["verdict"])
    return table


def _cost(minutes: float | None, times: int, price: Price) -> tuple[str, str, str]:
    if minutes is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    hours = minutes * times / 60
    return f"{minutes * times:.1f}", f"{hours * price.usd_per_hour:.2f}", f"{hours * price.watts / 1000:.3f}"

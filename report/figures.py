"""The key figures of a run as text: the header of the report, and the table that compares runs."""

from collections.abc import Mapping
from typing import Any

from report.data import RecordedRun, RunState, is_number
from run.cost import dollars

Row = Mapping[str, Any]


def head(run: RecordedRun) -> dict[str, Any]:
    """The header of the page: title, facts, state, and the figures in large type."""
    config = run.config
    commit, modified = config.get("git.commit"), " (modified)" if config.get("git.dirty") else ""
    facts = {
        "model": config.get("model.name"),
        "task": config.get("env.name"),
        "algorithm": config.get("algorithm.name"),
        "seed": config.get("seed"),
        "commit": f"{str(commit)[:12]}{modified}" if commit else None,
    }
    return {
        "title": str(config.get("run") or run.name),
        "facts": {name: str(value) for name, value in facts.items() if value is not None},
        "state": run.state(),
        "state_text": _state_text(run),
        "headline": _headline_figures(run),
    }


def figures(run: RecordedRun) -> dict[str, str | None]:
    """Figures by name, with the same names for every run; None for a figure that a run does not have (yet)."""
    first, last = _first_and_last(run, "eval/sampled")
    loss_first, loss_last = _first_and_last(run, "eval/loss")
    greedy_first, greedy_last = _first_and_last(run, "eval/greedy")
    if greedy_last.get("step") != last.get("step"):
        greedy_last = {}  # it belongs to other weights than the sampled accuracy
    tokens, seconds, cost = run.tokens, run.total("time/step"), usd(run)
    total_seconds, energy = _latest(run, "cost/seconds"), _latest(run, "cost/kwh")
    return {
        "sampled accuracy, step 0": text(first, "eval/sampled", ".1%"),
        "sampled accuracy, latest": text(last, "eval/sampled", ".1%"),
        "greedy accuracy, step 0": text(greedy_first, "eval/greedy", ".1%"),
        "greedy accuracy, latest": text(greedy_last, "eval/greedy", ".1%"),
        "held-out loss, step 0": text(loss_first, "eval/loss", ".4f"),
        "held-out loss, latest": text(loss_last, "eval/loss", ".4f"),
        "step of the latest evaluation": str(last["step"]) if last else None,
        "held-out problems": text(last, "eval/n", ",.0f"),
        "tries per completion": _change(first, last, "eval/tries"),
        "tokens per completion": _change(first, last, "eval/length"),
        "training steps": f"{_num_steps(run):,}",
        "completion tokens": f"{tokens:,.0f}",
        "minutes of training": f"{seconds / 60:.1f}",
        "minutes of evaluation": f"{run.total('time/evaluate') / 60:.1f}",
        "minutes in total, including setup": None if total_seconds is None else f"{total_seconds / 60:.1f}",
        "tokens per second": f"{tokens / seconds:,.0f}" if seconds else None,
        "cost": None if cost is None else f"${dollars(cost)}",
        "tokens per dollar": f"{tokens / cost:,.0f}" if cost else None,
        "energy (kWh)": None if energy is None else f"{energy:.3g}",
    }


def usd(run: RecordedRun) -> float | None:
    """The cost of a run so far in US dollars; None if it is free."""
    measured = _latest(run, "cost/usd")
    if measured is None and is_number(run.summary.get("usd")):
        measured = run.summary["usd"]
    return measured or None


def text(row: Row, name: str, spec: str) -> str | None:
    """A metric formatted with a format specification; None if the row does not have it."""
    return f"{row[name]:{spec}}" if is_number(row.get(name)) else None


def _headline_figures(run: RecordedRun) -> list[dict[str, str | None]]:
    """The figures in large type: a label, the value at step 0, the latest value, and a remark."""
    sampled, greedy = _first_and_last(run, "eval/sampled"), _first_and_last(run, "eval/greedy")
    loss = _first_and_last(run, "eval/loss")
    tokens, minutes = run.tokens, run.total("time/step") / 60
    rows = [
        ("held-out accuracy", *_values(*sampled, "eval/sampled", ".1%"), _evaluation(*sampled, "sampled")),
        ("greedy accuracy", *_values(*greedy, "eval/greedy", ".1%"), _evaluation(*greedy, "held out")),
        ("held-out loss", *_values(*loss, "eval/loss", ".3f"), "nats per token"),
        ("tries per completion", *_values(*sampled, "eval/tries", ".1f"), "held out"),
        ("tokens per completion", *_values(*sampled, "eval/length", ".0f"), "held out"),
        ("completion tokens", None, _with_unit(tokens), f"in {_steps(run)}"),
        ("training time", None, f"{minutes:.1f} min", "without setup and evaluation"),
        ("cost", None, figures(run)["cost"], "with setup and evaluation"),
    ]
    return [dict(zip(("label", "before", "after", "remark"), row)) for row in rows if row[2] is not None]


def _values(first: Row, last: Row, name: str, spec: str) -> tuple[str | None, str | None]:
    """(value at step 0, latest value); no value at step 0 if there was no later evaluation."""
    return (text(first, name, spec) if first.get("step") != last.get("step") else None), text(last, name, spec)


def _evaluation(first: Row, last: Row, how: str) -> str:
    """What the latest accuracy is of; evaluations during training may be of fewer problems than that of step 0."""
    parts = [how, f"step {last['step']}"] if last else []
    if n := text(last, "eval/n", ",.0f"):
        before = text(first, "eval/n", ",.0f") or n
        parts.append(f"{n} problems" if n == before else f"{n} problems ({before} at step 0)")
    return ", ".join(parts)


def _first_and_last(run: RecordedRun, name: str) -> tuple[Row, Row]:
    """The rows of the step-0 evaluation and of the latest evaluation with the metric `name`; empty if missing."""
    rows = run.evaluations(name)
    first = rows[0] if rows and rows[0]["step"] == 0 else {}
    return first, rows[-1] if rows else {}


def _change(first: Row, last: Row, name: str) -> str | None:
    before, after = _values(first, last, name, ".1f")
    return f"{before} → {after}" if before and after else after


def _with_unit(value: float) -> str:
    value = float(f"{value:.3g}")  # 999,600 is 1M, not 1000k
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _steps(run: RecordedRun) -> str:
    count = _num_steps(run)
    return f"{count:,} step" if count == 1 else f"{count:,} steps"


def _num_steps(run: RecordedRun) -> int:
    return sum("time/step" in row for row in run.rows)


def _latest(run: RecordedRun, name: str) -> float | None:
    values = [row[name] for row in run.rows if is_number(row.get(name))]
    return values[-1] if values else None


def _state_text(run: RecordedRun) -> str:
    num_steps, num_tokens = run.config.get("num_steps"), run.config.get("num_tokens")
    limit = f" of {num_tokens:,} tokens" if num_tokens else f" of {num_steps:,} steps" if num_steps else " steps"
    done = f"{run.tokens:,.0f}" if num_tokens else f"{_num_steps(run):,}"
    return {
        RunState.FINISHED: f"finished after {_steps(run)}",
        RunState.RUNNING: f"running: {done}{limit} at the time of this report",
        RunState.STOPPED: f"stopped early: {done}{limit}",
    }[run.state()]

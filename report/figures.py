"""The figures of a run as text: what its head shows, and what a comparison puts in a table."""

from collections.abc import Mapping
from typing import Any

from report.data import Run, is_number


def head(run: Run) -> dict[str, Any]:
    """What stands above everything: name, model, task, algorithm, commit, state and the big numbers."""
    config = run.config
    commit = next((v for k, v in config.items() if k.split(".")[-1] in ("commit", "git_commit") and v), None)
    facts = {
        "model": config.get("model.name"),
        "task": config.get("env.name"),
        "algorithm": config.get("algorithm.name"),
        "seed": config.get("seed"),
        "commit": str(commit)[:12] if commit else None,
    }
    return {
        "title": str(config.get("run") or run.name),
        "facts": {name: str(value) for name, value in facts.items() if value is not None},
        "state": run.state(),
        "state_text": _state_text(run),
        "big": _big(run),
    }


def figures(run: Run) -> dict[str, str | None]:
    """Name -> text, the same names for every run; None for what a run does not have (yet)."""
    first, last = _ends(run, "eval/sampled")
    greedy_first, greedy_last = _ends(run, "eval/greedy")
    if greedy_last.get("step") != last.get("step"):
        greedy_last = {}  # of other weights than the accuracy beside it
    tokens, seconds, dollars = _tokens(run), _seconds(run), usd(run)
    paid, energy = _last(run, "cost/seconds"), _last(run, "cost/kwh")
    return {
        "accuracy at step 0, sampled": percent(first, "eval/sampled"),
        "last accuracy, sampled": percent(last, "eval/sampled"),
        "accuracy at step 0, greedy": percent(greedy_first, "eval/greedy"),
        "last accuracy, greedy": percent(greedy_last, "eval/greedy"),
        "last evaluation, step": str(last["step"]) if last else None,
        "held-out problems": count(last, "eval/n"),
        "tries a completion": _from_to(first, last, "eval/tries"),
        "tokens a completion": _from_to(first, last, "eval/length"),
        "training steps": f"{_steps(run):,}",
        "tokens": f"{tokens:,.0f}",
        "minutes of training": f"{seconds / 60:.1f}",
        "minutes of evaluation": f"{run.total('time/evaluate') / 60:.1f}",
        "minutes in all, set-up too": None if paid is None else f"{paid / 60:.1f}",
        "tokens a second": f"{tokens / seconds:,.0f}" if seconds else None,
        "cost": None if dollars is None else f"${dollars:,.2f}" if dollars >= 0.1 else f"${dollars:.4f}",
        "tokens per $": f"{tokens / dollars:,.0f}" if dollars else None,
        "kWh": None if energy is None else f"{energy:.3g}",
    }


def usd(run: Run) -> float | None:
    """What the run has cost; None where nothing was paid, as on a CPU of one's own."""
    measured = _last(run, "cost/usd")
    if measured is None and is_number(run.summary.get("usd")):
        measured = run.summary["usd"]
    return measured or None


def percent(row: Mapping[str, Any], name: str) -> str | None:
    return f"{row[name]:.1%}" if is_number(row.get(name)) else None


def count(row: Mapping[str, Any], name: str) -> str | None:
    return f"{row[name]:,.0f}" if is_number(row.get(name)) else None


def _big(run: Run) -> list[dict[str, Any]]:
    """The numbers in large type: a label, what it was, what it is, and a remark."""
    first, last = _ends(run, "eval/sampled")
    greedy_first, greedy_last = _ends(run, "eval/greedy")
    tokens, seconds, dollars = _tokens(run), _seconds(run), usd(run)
    parts = [
        ("held-out accuracy", *_pair(first, last, "eval/sampled", percent), _of(last, "sampled")),
        ("greedy", *_pair(greedy_first, greedy_last, "eval/greedy", percent), _of(greedy_last, "held out")),
        ("tries a completion", *_pair(first, last, "eval/tries", _tenths), "held out"),
        ("tokens a completion", *_pair(first, last, "eval/length", _whole), "held out"),
        ("trained on", None, _large(tokens), f"tokens in {_steps(run):,} steps"),
        ("time", None, f"{seconds / 60:.1f} min", "without set-up and evaluation"),
        ("cost", None, figures(run)["cost"] if dollars else None, ""),
    ]
    return [dict(zip(("label", "before", "after", "remark"), part)) for part in parts if part[2] is not None]


def _pair(first: Mapping[str, Any], last: Mapping[str, Any], name: str, show: Any) -> tuple[str | None, str | None]:
    after = show(last, name)
    return (show(first, name) if first.get("step") != last.get("step") else None), after


def _of(row: Mapping[str, Any], how: str) -> str:
    problems = f", {row['eval/n']:,.0f} problems" if is_number(row.get("eval/n")) else ""
    return f"{how}, step {row['step']}{problems}" if row else ""


def _ends(run: Run, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The first and the last evaluation that has `name`; empty rows where there are none."""
    rows = run.evaluations(name)
    first = rows[0] if rows and rows[0]["step"] == 0 else {}
    return first, rows[-1] if rows else {}


def _from_to(first: Mapping[str, Any], last: Mapping[str, Any], name: str) -> str | None:
    before, after = _tenths(first, name), _tenths(last, name)
    return f"{before} → {after}" if before and after and first["step"] != last["step"] else after


def _tenths(row: Mapping[str, Any], name: str) -> str | None:
    return f"{row[name]:.1f}" if is_number(row.get(name)) else None


def _whole(row: Mapping[str, Any], name: str) -> str | None:
    return f"{row[name]:.0f}" if is_number(row.get(name)) else None


def _large(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _steps(run: Run) -> int:
    return sum("time/step" in row for row in run.rows)


def _tokens(run: Run) -> float:
    return run.total("rollout/tokens")


def _seconds(run: Run) -> float:
    return run.total("time/step")


def _last(run: Run, name: str) -> float | None:
    values = [row[name] for row in run.rows if is_number(row.get(name))]
    return values[-1] if values else None


def _state_text(run: Run) -> str:
    steps = _steps(run)
    asked, tokens = run.config.get("num_steps"), run.config.get("num_tokens")
    of = f" of {tokens:,} tokens" if tokens else f" of {asked:,} steps" if asked else ""
    done = f"{_tokens(run):,.0f}" if tokens else f"{steps:,}"
    return {
        "finished": f"finished after {steps:,} steps",
        "going on": f"still going when this was written: {done}{of}",
        "stopped early": f"stopped or killed before its end: {done}{of}",
    }[run.state()]

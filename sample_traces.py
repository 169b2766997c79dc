"""Sample traces: completions of training problems, filtered and written as a dataset for train_sft.py.

    make traces RUN=countdown-tiny-seed0 ARGS="num_problems=500 num_samples=16"
    python sample_traces.py model=smollm2-135m env=gsm8k strategy=majority output=outputs/traces
    python sample_traces.py model=tiny env=countdown build=journey

The samples come from any strategy of evaluate.py and are written to <output>/samples.jsonl as problems finish, so an
interrupted command resumes. A command with other filters, or with samples=<output> and another output, reuses them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conf.compose import compose_traces
from conf.launch import checking_settings, explaining_errors
from conf.traces import TracesConfig
from envs.countdown.task import Countdown
from envs.mixed import stored_problems, tasks_in_use, tasks_of
from evaluate import check, check_strategy, result_settings, solve_missing, written_prompt
from grpo.types import Problem, request_seed, sha256_of_problems
from inference.results import ProblemRow, Results
from inference.run_settings import run_settings
from pipelines.build import build, shortcuts_of, with_equal_tokens
from pipelines.data_card import data_card
from pipelines.filters import OF_A_TRACE, Filtered, apply_filters
from pipelines.traces import (
    Trace,
    draw_problems,
    in_style,
    prompt_styles,
    refuse_held_out,
    restyled,
    traces_of,
)
from run.files import replace_json, replace_rows, replace_text
from run.lock import lock
from workers.models import fitting_problems, load_tokenizer


@dataclass(frozen=True)
class Problems:
    """The training problems, and the same problems by key with the prompts that are written."""

    sampled: list[Problem]
    written: dict[str, Problem]


def make_problems(cfg: TracesConfig) -> Problems:
    """Draw the problems, with a seed that training does not use.

    Raises:
        ValueError: the task has too few training problems or no prompts in `write_style`, a training problem is held
            out, or its trace language has no journeys.
    """
    seed = request_seed(cfg.seed, "traces")
    fitting = fitting_problems(cfg.env, cfg.model, written_prompt(cfg))
    sampled = draw_problems(cfg.env, seed, cfg.num_problems, fitting.fits)
    if fitting.too_long:
        key, tokens = max(fitting.too_long.items(), key=lambda item: item[1])
        print(
            f"left out: {len(fitting.too_long)} problems with prompts of more than model.max_prompt_tokens="
            f"{fitting.max_tokens} tokens, such as {key!r} with {tokens}"
        )
    keys = {problem.key for problem in sampled}
    stores = all(any(stored_problems(task)) for task in tasks_in_use(cfg.env))
    count = cfg.evaluation.num_problems
    try:
        # A file may hold out fewer than `count`, or none with env.eval_fraction=0.
        held_out = list(stored_problems(cfg.env, ("test",))) if stores else cfg.env.eval_set(count)
    except ValueError as error:  # which names num_problems, here a number of training problems
        raise ValueError(f"evaluation.num_problems={count} held-out problems: {error}") from error
    refuse_held_out(sampled, held_out)
    for task in tasks_of(cfg.env):
        is_tiny = prompt_styles(cfg.env)[task.name] == "tiny"
        if cfg.build is not None and is_tiny and not isinstance(task, Countdown):
            raise ValueError(
                f"build={cfg.build}: the tiny models' traces of env {task.name} have no verdicts, with which a journey "
                "says why an attempt is wrong; choose env=countdown, or a model with another prompt_style"
            )
    written = sampled
    if cfg.write_style is not None:
        written = draw_problems(
            restyled(cfg.env, cfg.write_style), seed, cfg.num_problems, lambda problem: problem.key in keys
        )
    return Problems(sampled, {problem.key: problem for problem in written})


def make_traces(cfg: TracesConfig, problems: Sequence[Problem], rows: Mapping[str, ProblemRow]) -> Filtered:
    """Turn the samples into traces, or into what `build` names, and filter them.

    The controls of journeys are chosen after the filters, so that they have the problems of the journeys that passed.
    """
    if cfg.build is None:
        samples = [trace for p in problems for trace in traces_of(p, rows[p.key], cfg.strategy.samples)]
        return apply_filters(samples, cfg.filters, cfg.thresholds)
    tiny = {name for name, style in prompt_styles(cfg.env).items() if style == "tiny"}
    tokenizer = load_tokenizer(cfg.model.source)

    def count_tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1

    built = build(problems, rows, tiny, cfg.journey, count_tokens)
    journeys = apply_filters(built.journeys, cfg.filters, cfg.thresholds)
    counts = [("journey", len(problems), len(built.journeys)), *journeys.counts]
    if cfg.build == "journey":
        return Filtered(journeys.kept, journeys.rejected, counts)
    if cfg.build == "shortcut":
        kept = shortcuts_of(journeys.kept, built.shortcuts)
    else:
        kept = with_equal_tokens(journeys.kept, passing(cfg, built.shortcuts, journeys.kept))
    return Filtered(kept, journeys.rejected, [*counts, (cfg.build, len(journeys.kept), len(kept))])


def passing(
    cfg: TracesConfig, shortcuts: Mapping[str, Sequence[Trace]], journeys: Sequence[Trace]
) -> dict[str, list[Trace]]:
    """Return the shortcuts that pass the filters of single traces, and those of the journeys in any case."""
    names = [name for name in cfg.filters if name in OF_A_TRACE]
    keep = {trace.problem.key for trace in journeys}
    passed = {}
    for key, own in shortcuts.items():
        first, rest = (own[:1], own[1:]) if key in keep else ([], own)
        if kept := [*first, *apply_filters(rest, names, cfg.thresholds).kept]:
            passed[key] = kept
    return passed


def write(cfg: TracesConfig, filtered: Filtered, written: Mapping[str, Problem], weights: str) -> dict[str, Any]:
    """Write data.jsonl, rejected.jsonl and README.md, and return their part of the summary. The summary of other rows
    that an earlier command has left is removed first, so that it never describes these."""
    folder = cfg.output_folder
    (folder / "summary.json").unlink(missing_ok=True)
    kept = in_style(filtered.kept, written)
    rejected = in_style([trace for _, trace in filtered.rejected], written)
    reasons = [name for name, _ in filtered.rejected]
    data_sha256 = replace_rows(folder / "data.jsonl", (trace.row for trace in kept))
    replace_rows(
        folder / "rejected.jsonl",
        (trace.row | {"rejected_by": name} for name, trace in zip(reasons, rejected, strict=True)),
    )
    settings = {
        "model": {"path": cfg.model.path, "weights_sha256": weights},
        "env": asdict(cfg.env),
        "seed": cfg.seed,
        "num_problems": cfg.num_problems,
        "max_completion_tokens": cfg.model.max_completion_tokens,
        "strategy": asdict(cfg.strategy),
        "build": cfg.build,
        "journey": asdict(cfg.journey),
        "write_style": cfg.write_style,
        "filters": list(cfg.filters),
        "thresholds": asdict(cfg.thresholds),
    }
    card = data_card(cfg.license, settings, filtered.counts, data_sha256)
    replace_text(folder / "README.md", [card])
    return {
        "rows": len(kept),
        "rejected": {name: reasons.count(name) for name, _, _ in filtered.counts if name in reasons},
        "counts": filtered.counts,
        "data_tokens": sum(trace.tokens for trace in kept),
        "weights_sha256": weights,
        "data_sha256": data_sha256,
    }


def report(cfg: TracesConfig, summary: Mapping[str, Any]) -> None:
    print(f"{cfg.num_problems} problems, {summary['samples']} samples, {summary['accuracy']:.1%} of them correct")
    for name, entering, leaving in summary["counts"]:
        print(f"  {name:16} {entering:7,} -> {leaving:7,}")
    print(f"{summary['rows']:,} rows with {summary['data_tokens']:,} tokens in {cfg.output_folder}/data.jsonl")


def main() -> None:
    with checking_settings():
        cfg = run_settings(compose_traces, sys.argv[1:])
        check(cfg)
        problems = make_problems(cfg)
        check_strategy(cfg, problems.sampled[0])
        settings = result_settings(cfg)
        weights = settings["weights_sha256"]
        # The samples of a problem depend neither on the number of problems nor on the folder of the weights.
        del settings["num_problems"], settings["model"]
        output_lock = lock(cfg.output_folder, "choose another output=FOLDER")
        results = Results(cfg.samples_folder, "samples", "output=FOLDER")
        done = results.open(settings)
        for problem in problems.sampled:
            if problem.key in done and done[problem.key]["problem_sha256"] != sha256_of_problems([problem]):
                raise ValueError(
                    f"problem {problem.key!r} has changed since {results.lines} was written; choose another "
                    "output=FOLDER, or remove the file"
                )
    rows = solve_missing(cfg, problems.sampled, results, done)
    filtered = make_traces(cfg, problems.sampled, rows)
    candidates = [candidate for problem in problems.sampled for candidate in rows[problem.key]["candidates"]]
    spent = results.total_spent
    summary = write(cfg, filtered, problems.written, weights) | {
        "samples": len(candidates),
        "accuracy": sum(candidate["correct"] for candidate in candidates) / len(candidates),
        "grader_errors": sum(candidate["error"] is not None for candidate in candidates),
        "tokens": spent["tokens"],
        "seconds": round(spent["seconds"], 1),
        "usd": round(spent["usd"], 4),
    }
    report(cfg, summary)
    if not filtered.kept:
        raise SystemExit(
            f"error: no row is left; {cfg.output_folder}/rejected.jsonl names the filter that rejected each, and a "
            "larger num_samples or an easier env finds more correct ones"
        )
    replace_json(cfg.output_folder / "summary.json", summary)
    output_lock.close()


if __name__ == "__main__":
    with explaining_errors():
        main()

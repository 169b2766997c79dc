"""Write the tables of docs/performance.md from the files of results: `python -m tools.benchmarks.tables`

It replaces what is between the two comments in the page. `--print` prints the tables instead.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tools.benchmarks.floor import Tokens, floor
from tools.benchmarks.measurement import REPOSITORY, RESULTS, spread
from tools.planner.shape import Shape

PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- begin: tools.benchmarks.tables -->", "<!-- end: tools.benchmarks.tables -->"
PHASES = ("generate", "logprobs", "update", "weight_sync")
SIDES = {"ahazero": "AhaZero", "trl": "TRL"}
GROWTH = {
    "completions": "The update by completions, 64 tokens each",
    "length": "The update by the length of 8 completions",
    "shape": "The update of 4,096 completion tokens",
    "vocabulary": "The update by vocabulary, 16 completions of 64 tokens",
}

Row = Sequence[str]
Result = Mapping[str, Any]


def markdown(heading: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *rows))


def speed_tables(result: Result) -> str:
    """A step's time, and its share of what the machine can do, for AhaZero and TRL. Figures are medians over all
    measured steps, with the smallest and the largest in parentheses."""
    runs = {side: [found[side] for found in result["rounds"] if side in found] for side in SIDES}
    steps = {side: [step for run in runs[side] for step in run["steps"]] for side in SIDES}
    heading = ["", "step, s", *(f"{phase}, s" for phase in PHASES), "CPU s", "tokens/s", "peak GB"]
    rows = [
        [
            SIDES[side],
            *(spread([step[key] for step in steps[side]]) for key in ("seconds", *PHASES, "cpu_seconds")),
            spread([step["tokens"] / step["seconds"] for step in steps[side]]),
            f"{max(run['peak_bytes'] for run in runs[side]) / 1e9:.1f}",
        ]
        for side in SIDES
        if steps[side]
    ]
    floors = ["", "GEMM rate, GFLOP/s", "floor, s", "step / floor", "useful share of training"]
    limits = [[SIDES[side], *limit_cells(result, runs[side])] for side in SIDES if steps[side]]
    parts = [f"### {title(result)}", markdown(heading, rows), ratio_line(result), markdown(floors, limits)]
    return "\n\n".join(part for part in [*parts, f"*{source(result)}*"] if part)


def limit_cells(result: Result, runs: Sequence[Result]) -> Row:
    """The GEMM rate, the floor's seconds, the step's seconds over it, and the useful operations of log-probabilities
    and update over their seconds, as a share of the GEMM rate."""
    workload, shape = result["workload"], Shape(**result["shape"])
    floors, ratios, shares = [], [], []
    for run in runs:
        for step in run["steps"]:
            completions = workload["num_prompts"] * workload["group_size"]
            lengths = workload["prompt_tokens"], step["tokens"] / completions
            tokens = Tokens(workload["num_prompts"], workload["group_size"], *lengths)
            least = floor(shape, tokens, workload["kl_coef"] > 0)
            floors.append(least.total / run["gemm_rate"])
            ratios.append(step["seconds"] / floors[-1])
            shares.append(least.training / (step["logprobs"] + step["update"]) / run["gemm_rate"])
    rates = [run["gemm_rate"] / 1e9 for run in runs]
    return [spread(rates), spread(floors), spread(ratios), spread(shares)]


def ratio_line(result: Result) -> str:
    """By how much the steps of TRL take longer than ours of the same round; "" without a complete round."""
    ratios = [
        median(step["seconds"] for step in found["trl"]["steps"])
        / median(step["seconds"] for step in found["ahazero"]["steps"])
        for found in result["rounds"]
        if found.keys() >= SIDES.keys()
    ]
    return f"TRL's step / AhaZero's step, by round: {spread(ratios)}." if ratios else ""


def title(result: Result) -> str:
    work = result["workload"]
    tokens = f"{'up to ' if work['natural'] else ''}{work['max_completion_tokens']} tokens"
    kl = f"KL {work['kl_coef']:g}" if work["kl_coef"] else "no KL"
    return f"{work['name']}: {work['model']}, {work['num_prompts']} x {work['group_size']} x {tokens}, {kl}"


def generation_table(result: Result) -> str:
    """Seconds on the same requests, and the speed relative to vLLM alone."""
    rounds, rows = result["rounds"], []
    for name in rounds[0]:
        seconds = [found[name]["seconds"] for found in rounds]
        rates = [found[name]["tokens"] / found[name]["seconds"] for found in rounds]
        ratios = [found[name]["seconds"] / found["vLLM alone"]["seconds"] for found in rounds]
        rows.append([name, spread(seconds), spread(rates), spread(ratios)])
    heading = ["", "seconds", "tokens/s", "seconds / vLLM alone"]
    named = f"### Generation: {result['name']}, {result['workload']['completions']} completions"
    return "\n\n".join([named, markdown(heading, rows), f"*{source(result)}*"])


def growth_tables(result: Result) -> str:
    """Seconds by size, and microseconds per completion token, which stay constant if time grows linearly."""
    parts = ["### Growth"]
    for name, points in result["tables"].items():
        if name == "replicas":
            rows = [
                [str(point["replicas"]), *(spread([step[key] for step in point["steps"]]) for key in REPLICA_KEYS)]
                for point in points
            ]
            heading = ["replicas", *("step, s" if key == "seconds" else f"{key}, s" for key in REPLICA_KEYS)]
            parts += ["A step of the tiny model by rollout replicas:", markdown(heading, rows)]
            continue
        rows = []
        for point in points:
            sizes = [f"{point[key]:,}" for key in ("completions", "length", "vocabulary")]
            per_token = 1e6 * median(point["seconds"]) / (point["completions"] * point["length"])
            rows.append([*sizes, spread(point["seconds"]), f"{per_token:,.0f}"])
        heading = ["completions", "length", "vocabulary", "seconds", "microseconds per token"]
        parts += [f"{GROWTH[name]}:", markdown(heading, rows)]
    return "\n\n".join([*parts, f"*{source(result)}*"])


REPLICA_KEYS = ("generate", "weight_sync", "seconds")


def source(result: Result) -> str:
    """Where and when the figures were measured."""
    machine, commit = result["machine"], (result["git"] or {"commit": "unknown"})["commit"][:10]
    sides = result["versions"]
    found = sides.get("ahazero", sides) | sides.get("trl", {})
    libraries = ", ".join(f"{name} {found[name]}" for name in sorted(found))
    return f"{machine['cpu']}, {machine['cores']} cores; {libraries}; commit {commit}, {result['date'][:10]}"


TABLES = {"speed": speed_tables, "generation": generation_table, "growth": growth_tables}


def all_tables(folder: Path) -> str:
    """The tables of every file of results in a folder, by benchmark."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return "\n\n".join(TABLES[name](result) for name in TABLES for result in results if result["benchmark"] == name)


def replaced(page: str, tables: str) -> str:
    """The page with the tables between its two comments. Raises ValueError if it lacks them."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE} must contain the lines {BEGIN} and {END}, between which the tables go")
    return f"{page[: page.index(BEGIN)]}{BEGIN}\n\n{tables}\n\n{page[page.index(END) :]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="print the tables and leave the page as it is")
    args = parser.parse_args()
    tables = all_tables(args.results)
    if args.print:
        print(tables)
    else:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()

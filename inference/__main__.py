"""Compare evaluations: a table with paired differences to the first, and a picture. With --difficulty, also the best
strategy of each difficulty level at each budget (arXiv 2408.03314).

python -m inference outputs/RUN/eval/*.json --output scaling.png
python -m inference outputs/RUN/eval/*-seed0.json --difficulty outputs/RUN/eval/sample-8-seed1.json --output scaling.png
"""

import argparse
from pathlib import Path

from inference.comparison import (
    SavedEvaluation,
    choices_table,
    comparison_table,
    compute_optimal_by_bins,
    curves,
    difficulty_bins,
)
from inference.picture import draw
from run.files import distinct_names


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m inference", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, nargs="+", help="eval/*.json; all are compared to the first")
    parser.add_argument(
        "--difficulty", type=Path, help="eval/*.json of samples that are not among the results, to rank the problems"
    )
    parser.add_argument("--output", type=Path, help="the picture to write, PNG or SVG")
    args = parser.parse_args()
    try:
        names = distinct_names([path.with_suffix("") for path in args.results])
        evaluations = [SavedEvaluation(path, name) for path, name in zip(args.results, names)]
        print(comparison_table(evaluations))
        bins = difficulty_bins(SavedEvaluation(args.difficulty)) if args.difficulty else {}
        optimal = compute_optimal_by_bins(evaluations, bins)
        if optimal:
            print(f"\n{choices_table(optimal)}")
        if args.output:
            args.output.parent.mkdir(parents=True, exist_ok=True)
            draw(curves(evaluations, bins, optimal), args.output)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

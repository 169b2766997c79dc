"""Evaluations side by side: a table, the paired difference to the first, and a picture; with samples to tell the
difficulty of problems by, also what each difficulty is best answered by at each budget (arXiv 2408.03314).

python -m inference outputs/RUN/eval/*.json --output scaling.png
python -m inference outputs/RUN/eval/*-seed0.json --difficulty outputs/RUN/eval/sample-8-seed1.json --output scaling.png
"""

import argparse
from pathlib import Path

from inference.comparison import Evaluation, choices_table, curves, difficulty_bins, spend_by_difficulty, table
from inference.picture import draw


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m inference", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, nargs="+", help="eval/*.json; the first is what others are compared to")
    parser.add_argument("--difficulty", type=Path, help="eval/*.json of samples that are not among the results")
    parser.add_argument("--output", type=Path, help="a picture, PNG or SVG")
    args = parser.parse_args()
    evaluations = [Evaluation(path) for path in args.results]
    try:
        print(table(evaluations))
        bins = difficulty_bins(Evaluation(args.difficulty)) if args.difficulty else {}
        spent = spend_by_difficulty(evaluations, bins)
        if spent:
            print(f"\n{choices_table(spent)}")
        if args.output:
            draw(curves(evaluations, bins, spent), args.output)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

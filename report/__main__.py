"""Write the HTML report of a run, or compare several runs: python -m report RUN [RUN ...] [--output FILE]"""

import argparse
from pathlib import Path

from report.page import write_report
from run.folder import RunFolder


def folders_of(run: str) -> list[Path]:
    """The run folders for a command-line argument: the run outputs/<run> if it exists, otherwise the path itself.

    A folder that contains runs, such as that of a sweep, stands for all of them."""
    named = Path("outputs", run)
    folder = named if named.is_dir() else Path(run)
    runs = sorted(config.parent for config in folder.glob("*/config.yaml"))
    return runs if runs and not RunFolder(folder).config.is_file() else [folder]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m report", description="Write the HTML report of a run, or of several runs side by side."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="the name of a run in outputs/, a run folder, or a folder of runs"
    )
    parser.add_argument("--output", type=Path, help="the file to write (default: report.html in the folder of the run)")
    args = parser.parse_args()
    try:
        print(write_report([folder for run in args.runs for folder in folders_of(run)], args.output))
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

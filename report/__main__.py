"""python -m report RUN [RUN ...] [--output FILE]; a RUN is a name in outputs/, or a folder, of
one run or of several."""

import argparse
from pathlib import Path

from report.page import write_report
from run.folder import RunFolder


def folders_of(run: str) -> list[Path]:
    """A name in outputs/, before a folder of the same name; the runs in it where it is a sweep's."""
    named = RunFolder.of(run).path
    folder = named if named.is_dir() else Path(run)
    runs = sorted(config.parent for config in folder.glob("*/config.yaml"))
    return runs if runs and not RunFolder(folder).config.is_file() else [folder]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--output", type=Path, help="where to write, instead of report.html in the run's folder")
    args = parser.parse_args()
    try:
        print(write_report([folder for run in args.runs for folder in folders_of(run)], args.output))
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()

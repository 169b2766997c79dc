"""Write rows for train_sft.py that a program can generate: countdown searches in plain English, or arithmetic drills.

    python -m tools.countdown_rows english --rows 4000 --output outputs/english-traces model=smollm2-135m
    python -m tools.countdown_rows drills --rows 2000 --output outputs/drills

`english` teaches a pretrained language model to search (envs/countdown/english.py). Its problems and prompts are those
of a run with the same Hydra overrides, training problems only. `drills` are the lines of plain arithmetic from the
tiny model's corpus (envs/countdown/corpus.py), general data that keeps a tiny model's other skills.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from conf.compose import compose_config
from conf.launch import checking_settings
from envs.countdown.corpus import drills
from envs.countdown.english import traces
from envs.countdown.task import Countdown
from run.files import replace_rows


def write_rows(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `folder`/data.jsonl and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data.jsonl"
    replace_rows(path, rows, ensure_ascii=False)  # make takes a file that is there for a complete one
    return path


def english_rows(rows: int, seed: int, max_attempts: int, overrides: list[str]) -> Iterable[Mapping[str, Any]]:
    """English traces of the problems that these Hydra overrides select.

    Raises:
        ValueError: the overrides do not compose, or select another task.
    """
    env = compose_config(["env=countdown", *overrides]).env
    if not isinstance(env, Countdown):
        raise ValueError(f"env={env.name} must be countdown, whose solutions the English rows search for; remove it")
    return traces(env, rows, seed, max_attempts)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.countdown_rows", description=__doc__, formatter_class=raw)
    parser.add_argument("kind", choices=["english", "drills"])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--output", type=Path, required=True, help="the folder of data.jsonl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-attempts", type=int, default=8, help="english: the most attempts in a trace")
    parser.add_argument("overrides", nargs="*", help="english: Hydra overrides, e.g. model=smollm2-135m")
    args = parser.parse_intermixed_args()
    with checking_settings():
        if args.kind == "english":
            rows = english_rows(args.rows, args.seed, args.max_attempts, args.overrides)
        else:
            rows = drills(args.rows, args.seed)
        print(f"wrote {write_rows(args.output, rows)}")


if __name__ == "__main__":
    main()

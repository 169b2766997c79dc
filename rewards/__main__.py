"""Score completions from JSONL on standard input; write one JSON object per line, in the same order.

    python -m rewards score --env gsm8k --reward r1_zero < completions.jsonl

Each line has `completion`, the text after the prompt's opening <think> tag, and describes the problem by the task's
own fields (countdown: `numbers` and `target`; multiplication: `a` and `b`), which may be in `fields` as in the
samples.jsonl of a run, or by `answer`. The component `length` also needs `tokens`. Further arguments are Hydra
overrides of a run; `math` and `jsonl` need env.path, which scoring does not read (env.path=unread).
"""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from conf.compose import compose_config
from conf.launch import checking_settings
from conf.schema import Config
from envs.grading import GradingPool
from envs.score import join_review
from grpo.types import Score
from rewards.judge import FormatJudge

BATCH_SIZE = 64  # lines that are scored at the same time


def main() -> int:
    """Return the exit status: 0 if every line could be scored, otherwise 1."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m rewards", description=__doc__, formatter_class=raw)
    parser.add_argument("command", choices=["score"])
    parser.add_argument("--env", default="countdown", help="name of the task in conf/env/")
    parser.add_argument("--reward", default="tinyzero", help="name of the reward mix in conf/reward/")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. reward.weights.correct=2")
    args = parser.parse_intermixed_args()
    with checking_settings():
        cfg = compose_config([f"env={args.env}", f"reward={args.reward}", "model=qwen-3b", *args.overrides])
        judge = make_judge(cfg)
    clean = True
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="replace")
    for line in score_lines(lines, cfg, judge):
        clean &= "error" not in line
        print(json.dumps(line), flush=True)
    return 0 if clean else 1


def make_judge(cfg: Config) -> FormatJudge | None:
    if not cfg.reward.judged:
        return None
    from workers.judge import local_judge  # imports torch and transformers

    return local_judge(cfg.reward.judge)


def score_lines(lines: Iterable[str], cfg: Config, judge: FormatJudge | None) -> Iterator[dict[str, Any]]:
    """Yield the result of each line, in order."""
    pool = GradingPool(cfg.env, cfg.reward)
    numbered = enumerate(lines, start=1)
    try:
        while batch := list(islice(numbered, BATCH_SIZE)):
            pending = [submit(number, line, cfg, pool) for number, line in batch]
            reviews: list[float | None] = [None] * len(batch)
            if judge is not None:
                reviews = judge.review([str(record.get("completion", "")) for record, _ in pending])
            for (_, future), review in zip(pending, reviews, strict=True):
                if isinstance(future, str):
                    yield {"reward": 0.0, "correct": False, "components": {}, "reason": future, "error": future}
                    continue
                score = future.result()
                yield row_of(score if judge is None else join_review(cfg.reward, score, review))
    finally:
        pool.close()


def submit(number: int, line: str, cfg: Config, pool: GradingPool) -> tuple[dict[str, Any], Future[Score] | str]:
    """The record of a line, and its future score or an error message."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}, f"line {number}: not JSON"
    if not isinstance(record, dict) or not isinstance(record.get("completion"), str):
        return {}, f"line {number}: no field completion"
    try:
        nested = record.get("fields")  # a row of a run's samples.jsonl
        problem = cfg.env.read({**record, **nested} if isinstance(nested, dict) else record)
    except ValueError as error:
        return record, f"line {number}: {error}"
    tokens = record.get("tokens")
    return record, pool.submit(problem, record["completion"], tokens if isinstance(tokens, int) else None)


def row_of(score: Score) -> dict[str, Any]:
    line = {
        "reward": score.reward,
        "correct": score.correct,
        "components": dict(score.components),
        "reason": score.reason,
    }
    return line if score.error is None else {**line, "error": score.error}


if __name__ == "__main__":
    raise SystemExit(main())

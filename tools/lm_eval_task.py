"""Export a task's held-out problems for EleutherAI's lm-evaluation-harness, graded by this project's checker.

    python -m tools.lm_eval_task --output outputs/lm_eval --number 256 model=tiny env=countdown
    PYTHONPATH=. lm_eval run --model hf --model_args pretrained=outputs/RUN/checkpoints/step_000036/hf \\
        --include_path outputs/lm_eval --tasks ahazero_countdown

The harness can load the hf/ folder of a checkpoint as it is; this script adds the task. Prompts are rendered with the
model's chat template, if it has one.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from conf.compose import compose_config
from conf.launch import checking_settings
from conf.schema import Config
from rewards.tags import read_tags
from workers.models import check_model, load_tokenizer
from workers.tokenization import render


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Called by the harness for each problem: 1 if the completion is exactly correct, else 0."""
    env = _composed(tuple(doc["settings"])).env
    verdict = env.check(env.read(doc["fields"]), read_tags(results[0]).answer)
    return {"correct": float(verdict.correct)}


def write_task(cfg: Config, overrides: Sequence[str], number: int, output: Path) -> str:
    """Write the folder of the task and return the task's name."""
    name = f"ahazero_{cfg.env.name}"
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(cfg.model.source)
    with (folder / "problems.jsonl").open("w", encoding="utf-8") as file:
        for problem in cfg.env.eval_set(number):
            fields = {**problem.fields, "env": problem.env}  # by `env`, a mix of tasks finds the one that checks it
            row = {"prompt": render(tokenizer, problem.prompt), "answer": problem.answer, "fields": fields}
            file.write(json.dumps({**row, "settings": list(overrides)}) + "\n")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str((folder / "problems.jsonl").resolve())}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {
            "until": [],  # the harness removes stop strings, and the checker needs the closing tag
            "max_gen_toks": cfg.model.max_completion_tokens,
            "do_sample": False,
        },
        "metric_list": [{"metric": "correct", "aggregation": "mean", "higher_is_better": True}],
    }
    # yaml.safe_dump cannot write the tag with which the harness refers to functions.
    text = yaml.safe_dump(task, sort_keys=False) + "process_results: !function grade.process_results\n"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    (folder / "grade.py").write_text("from tools.lm_eval_task import process_results  # noqa: F401\n", encoding="utf-8")
    return name


@lru_cache(maxsize=8)
def _composed(overrides: tuple[str, ...]) -> Config:
    return compose_config(list(overrides))


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.lm_eval_task", description=__doc__, formatter_class=raw)
    parser.add_argument("--output", type=Path, required=True, help="folder to pass to lm_eval as --include_path")
    parser.add_argument("--number", type=int, default=256, help="number of held-out problems (default: %(default)s)")
    parser.add_argument(
        "overrides", nargs="*", help="Hydra overrides, such as model=tiny env=countdown env.max_number=20"
    )
    args = parser.parse_intermixed_args()
    with checking_settings():
        cfg = compose_config(args.overrides)
        check_model(cfg.model, cfg.rollout, cfg.topology)
        name = write_task(cfg, args.overrides, args.number, args.output)
    print(f"lm_eval --include_path {args.output} --tasks {name}")


if __name__ == "__main__":
    main()
